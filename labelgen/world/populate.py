"""Fills a plan with things: what stands on the lots and sidewalks, parks at the kerb, drives and walks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labelgen.world import surface as sf
from labelgen.world.layout import Plan
from labelgen.world.roads import LOT_LENGTH, Road
from labelgen.world.shapes import buildings, machines, people, plants, street, vehicles
from labelgen.world.shapes.thing import Thing
from labelgen.world.surface import HEIGHT
from labelgen.world.traffic import Track

FloatArray = NDArray[np.float64]
Maker = Callable[[np.random.Generator], Thing]


@dataclass
class Entry:
    """A thing, its pose at rest (x, y, z, yaw, phase), and its track if it moves."""

    thing: Thing
    pose: tuple[float, float, float, float, float]
    track: Track | None = None
    rider: bool = False


@dataclass
class Stock:
    """Everything in a city; ``ego`` is the row of the car that carries the sensors."""

    entries: list[Entry] = field(default_factory=list)
    speed: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    ego: int = 0


class _Filler:
    def __init__(self, plan: Plan, rng: np.random.Generator) -> None:
        self.plan, self.rng, self.stock = plan, rng, Stock()
        self._taken = np.zeros((4096, 3))
        self._count = 0

    # -- room ---------------------------------------------------------------------------------------------

    def free(self, x: FloatArray, y: FloatArray, radius: float) -> bool:
        """Whether discs around the places touch nothing that stands."""
        t = self._taken[: self._count]
        gap = (t[:, None, 0] - x) ** 2 + (t[:, None, 1] - y) ** 2 - (t[:, None, 2] + radius) ** 2
        return bool((gap > 0).all())

    def take(self, x: FloatArray, y: FloatArray, radius: float) -> None:
        for a, b in zip(np.atleast_1d(x), np.atleast_1d(y), strict=True):
            if self._count == len(self._taken):
                self._taken = np.concatenate([self._taken, np.zeros_like(self._taken)])
            self._taken[self._count] = a, b, radius
            self._count += 1

    def ground(self, x: FloatArray, y: FloatArray) -> tuple[NDArray[np.uint8], FloatArray]:
        return sf.surfaces(self.plan.ground, np.atleast_1d(x).astype(float), np.atleast_1d(y).astype(float))

    def stand(
        self,
        thing: Thing,
        road: Road,
        s: float,
        d: float,
        yaw: float,
        kinds: tuple[int, ...] | None = None,
        min_beyond: float = -np.inf,
        rider: bool = False,
        room: float = 1.0,
    ) -> bool:
        """Put a thing at a place of a road unless something is in its way; ``yaw`` is relative to the road."""
        low, high = thing.assembly.bounds()
        (x,), (y,), (heading,) = road.at(np.array([s]), np.array([d]))
        turn = heading + yaw
        hx, hy = (high - low)[:2] / 2
        middle = (high + low)[:2] / 2
        long, short = max(hx, hy), min(hx, hy)
        steps = np.linspace(-1, 1, max(1, int(np.ceil(long / max(short, 0.4)))))
        along = steps * max(long - short, 0.0) if len(steps) > 1 else np.zeros(1)
        u = middle[0] + (along if hx >= hy else 0.0 * along)
        v = middle[1] + (along if hx < hy else 0.0 * along)
        xs, ys = x + np.cos(turn) * u - np.sin(turn) * v, y + np.sin(turn) * u + np.cos(turn) * v
        radius = max(short, 0.15) * room
        if not self.free(xs, ys, radius):
            return False
        cx, cy = np.array([-1, -1, 1, 1, 0]) * hx + middle[0], np.array([-1, 1, 1, -1, 0]) * hy + middle[1]
        gx, gy = x + np.cos(turn) * cx - np.sin(turn) * cy, y + np.sin(turn) * cx + np.cos(turn) * cy
        found, beyond = self.ground(gx, gy)
        if beyond.min() < min_beyond or (kinds is not None and not np.isin(found, kinds).all()):
            return False
        z = float(HEIGHT[found[4]])
        self.take(xs, ys, radius)
        self.stock.entries.append(Entry(thing, (float(x), float(y), z, float(turn), 0.0), None, rider))
        return True

    # -- stretches of road ------------------------------------------------------------------------------

    def lots(self) -> None:
        for row, road in enumerate(self.plan.roads):
            for side in range(2):
                for k in range(int(road.length / LOT_LENGTH)):
                    zone = str(self.plan.zones[row, side, k])
                    getattr(self, f"_{zone}")(road, (k + 0.5) * LOT_LENGTH, 1.0 if side else -1.0)

    def _row(self, road: Road, s: float, d: float, length: float, maker: Maker, step: float, yaw: float,
             jitter: float = 0.05) -> None:  # fmt: skip
        for k in range(int(length / step)):
            at = s - length / 2 + (k + 0.5) * step
            self.stand(maker(self.rng), road, at, d + self.rng.normal(0, jitter), yaw + self.rng.normal(0, 0.04),
                       room=0.9)  # fmt: skip

    def _edge(self, road: Road, side: float, setback: float) -> float:
        return side * (road.half_width + self.plan.walk + setback)

    def _building(self, road: Road, s: float, side: float, make: Callable[..., Thing], setback: float,
                  width: float, depth: float) -> bool:  # fmt: skip
        # Fronts look along -y of their own frame: turned to face the road.
        yaw = 0.0 if side > 0 else np.pi
        thing = make(self.rng, width, depth)
        return self.stand(
            thing, road, s, self._edge(road, side, setback), yaw, min_beyond=self.plan.walk - 0.3
        )

    def _downtown(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        width = LOT_LENGTH - rng.uniform(0.3, 5)
        self._building(road, s, side, buildings.tower, rng.uniform(0.4, 5.0), width, rng.uniform(11, 18))
        for _ in range(int(rng.integers(0, 4))):
            maker = [street.kiosk, plants.bush, plants.tree, street.bollard][int(rng.integers(4))]
            self.stand(maker(rng), road, s + rng.uniform(-10, 10), self._edge(road, side, rng.uniform(0, 2.5)),
                       np.pi / 2, min_beyond=self.plan.walk)  # fmt: skip
        if rng.random() < 0.3:
            self._row(road, s, self._edge(road, side, -0.2), 14, street.bollard, 2.0, 0.0)

    def _houses(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        setback = rng.uniform(4.0, 9.0)
        self._building(road, s, side, buildings.house, setback, rng.uniform(9, 16), rng.uniform(8, 11))
        edge = rng.random()
        length = LOT_LENGTH - 5.0
        if edge < 0.4:
            self.stand(plants.hedge(rng, length), road, s - 2, self._edge(road, side, 0.7), 0.0,
                       min_beyond=self.plan.walk)  # fmt: skip
        elif edge < 0.85:
            make = street.fence if edge < 0.65 else street.wall
            self.stand(make(rng, length), road, s - 2, self._edge(road, side, 0.3), 0.0,
                       min_beyond=self.plan.walk)  # fmt: skip
        for _ in range(int(rng.integers(1, 5))):
            maker = plants.tree if rng.random() < 0.5 else plants.bush
            self.stand(maker(rng), road, s + rng.uniform(-10, 10), self._edge(road, side, rng.uniform(1.5, 14)), 0.0,
                       (sf.GRASS,), room=0.6)  # fmt: skip
        if rng.random() < 0.35:
            self.stand(vehicles.car(rng), road, s + 8, self._edge(road, side, 3.0), np.pi / 2, (sf.GRASS,))

    def _park(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        for _ in range(int(rng.integers(5, 12))):
            maker = plants.tree if rng.random() < 0.65 else plants.bush
            self.stand(maker(rng), road, s + rng.uniform(-11, 11), self._edge(road, side, rng.uniform(1.0, 26)), 0.0,
                       (sf.GRASS,), room=0.6)  # fmt: skip
        if rng.random() < 0.4:
            self.stand(plants.hedge(rng, LOT_LENGTH - 6), road, s, self._edge(road, side, 0.8), 0.0,
                       min_beyond=self.plan.walk)  # fmt: skip

    def _industry(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        self._building(road, s, side, buildings.hall, rng.uniform(14, 18), LOT_LENGTH - 1, 14)
        for _ in range(int(rng.integers(2, 5))):
            maker: Maker = [
                vehicles.trailer,
                vehicles.truck,
                buildings.container,
                machines.construction_vehicle,
            ][int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))]
            yaw = float(rng.choice([0.0, np.pi / 2, -np.pi / 2]))
            self.stand(maker(rng), road, s + rng.uniform(-9, 9), self._edge(road, side, rng.uniform(2, 11)), yaw,
                       (sf.PARKING,))  # fmt: skip
        if rng.random() < 0.5:
            self.stand(street.fence(rng, 7.0), road, s - 7, self._edge(road, side, 0.2), 0.0,
                       min_beyond=self.plan.walk - 0.2)  # fmt: skip

    def _site(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        for _ in range(int(rng.integers(1, 3))):
            self.stand(machines.construction_vehicle(rng), road, s + rng.uniform(-7, 7),
                       self._edge(road, side, rng.uniform(3, 12)), rng.uniform(0, 6.28), (sf.DIRT,))  # fmt: skip
        if rng.random() < 0.5:
            self.stand(buildings.container(rng), road, s + rng.uniform(-6, 6), self._edge(road, side, 15), 0.0,
                       (sf.DIRT,))  # fmt: skip
        if rng.random() < 0.5:
            self.stand(
                vehicles.truck(rng), road, s + rng.uniform(-6, 6), self._edge(road, side, 9), 0.3, (sf.DIRT,)
            )
        kind = str(rng.choice(["concrete", "plastic", "fence", "board"]))
        at = self._edge(road, side, 0.6) if rng.random() < 0.5 else side * (road.half_width + 0.6)
        self._row(road, s, at, LOT_LENGTH - 2, lambda r: street.barrier(r, kind), 2.2, 0.0)
        for _ in range(int(rng.integers(3, 9))):
            self.stand(street.cone(rng), road, s + rng.uniform(-11, 11), side * (road.half_width - rng.uniform(-2, 0.6)),
                       rng.uniform(0, 6))  # fmt: skip
        for _ in range(int(rng.integers(1, 4))):
            worker = people.pedestrian(rng, walking=False, worker=True)
            self.stand(worker, road, s + rng.uniform(-9, 9), self._edge(road, side, rng.uniform(-1, 6)),
                       rng.uniform(0, 6.28))  # fmt: skip
        if rng.random() < 0.6:
            self._building(road, s, side, buildings.tower, 20, LOT_LENGTH - 2, 12)

    def _parking(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        for line in range(2):
            for k in range(7):
                if rng.random() < 0.62:
                    maker = [vehicles.car, vehicles.truck, people.motorcycle, vehicles.trailer][
                        int(rng.choice(4, p=[0.78, 0.1, 0.08, 0.04]))
                    ]
                    self.stand(maker(rng), road, s + (k - 3) * 2.7, self._edge(road, side, 3.4 + 11.5 * line),
                               np.pi / 2 * float(rng.choice([-1, 1])), (sf.PARKING,), room=0.9)  # fmt: skip
        self._building(road, s, side, buildings.tower, 24, LOT_LENGTH - 1, 9)

    def _water(self, road: Road, s: float, side: float) -> None:
        rng = self.rng
        self.stand(street.fence(rng, LOT_LENGTH - 1), road, s, self._edge(road, side, -0.3), 0.0)
        if rng.random() < 0.6:
            self._building(road, s, side, buildings.tower, 25.0, LOT_LENGTH - 1, 9)

    def kerbs(self) -> None:
        """Trees, lamps, signs, shelters, parked bicycles and people along all sidewalks."""
        rng, plan = self.rng, self.plan
        for road in plan.roads:
            for side in (-1.0, 1.0):
                outward = 0.0 if side < 0 else np.pi
                near = side * (road.half_width + min(0.7, plan.walk / 3))
                lamp_phase = rng.uniform(0, 20)
                for s in np.arange(lamp_phase, road.length, 26.0):
                    self.stand(street.lamp(rng), road, s, near, outward, min_beyond=0.1, room=0.3)
                s = rng.uniform(0, 6)
                while s < road.length:
                    self._furnish(road, s, side, near, outward)
                    s += rng.uniform(2.5, 7.0)

    def _furnish(self, road: Road, s: float, side: float, near: float, outward: float) -> None:
        rng, plan = self.rng, self.plan
        roll = rng.random()
        inner = side * (road.half_width + max(plan.verge, 0.6) + rng.uniform(0.3, 1.2))
        allowed = (sf.GRASS, sf.SIDEWALK)
        if roll < 0.24 and plan.verge > 1.0:
            self.stand(plants.tree(rng), road, s, side * (road.half_width + plan.verge / 2), rng.uniform(0, 6), room=0.35,
                       min_beyond=-3.0)  # fmt: skip
        elif roll < 0.34:
            self.stand(street.sign(rng), road, s, near, np.pi if side < 0 else 0.0, allowed, room=0.8)
        elif roll < 0.40:
            self.stand(plants.bush(rng), road, s, near + side * 0.6, 0.0, allowed, room=0.8)
        elif roll < 0.45:
            self.stand(street.bollard(rng), road, s, near, 0.0, allowed)
        elif roll < 0.48:
            self.stand(street.shelter(rng), road, s, inner + side * 1.0, outward, allowed)
        elif roll < 0.52:
            self.stand(street.kiosk(rng), road, s, inner + side, outward, allowed)
        elif roll < 0.57:
            self.stand(street.clutter(rng), road, s, inner, rng.uniform(0, 6), allowed)
        elif roll < 0.71:
            for k in range(int(rng.integers(1, 4))):
                self.stand(people.bicycle(rng), road, s + 0.7 * k, inner, np.pi / 2 + rng.normal(0, 0.1), allowed,
                           room=0.9)  # fmt: skip
        elif roll < 0.80:
            for k in range(int(rng.integers(1, 3))):
                self.stand(people.motorcycle(rng), road, s + 1.1 * k, near + side * 0.7, 0.9 + rng.normal(0, 0.2), allowed,
                           room=0.9)  # fmt: skip
        elif roll < 0.92:
            for _ in range(int(rng.integers(1, 4))):
                self.stand(people.pedestrian(rng, walking=False), road, s + rng.uniform(-1, 1),
                           inner + side * rng.uniform(0, 1.5), rng.uniform(0, 6.28), allowed)  # fmt: skip
        elif roll < 0.96:
            kind = str(rng.choice(["concrete", "plastic", "fence", "board"]))
            self._row(road, s, near, rng.uniform(5, 16), lambda r: street.barrier(r, kind), 2.2, 0.0)
        else:
            self._row(road, s, side * (road.half_width - 0.5), rng.uniform(4, 14), street.cone, 1.8, 0.0, 0.2)

    def parked(self) -> None:
        """Vehicles in the parking lanes, away from crossings."""
        rng = self.rng
        for road in self.plan.roads:
            if road.parking == 0.0:
                continue
            for side in (-1.0, 1.0):
                s = rng.uniform(0, 8)
                while s < road.length:
                    if rng.random() < 0.62:
                        maker: Maker = [vehicles.car, vehicles.truck, vehicles.trailer, vehicles.bus,
                                        people.motorcycle, machines.construction_vehicle][
                            int(rng.choice(6, p=[0.58, 0.14, 0.09, 0.06, 0.06, 0.07]))
                        ]  # fmt: skip
                        thing = maker(rng)
                        low, high = thing.assembly.bounds()
                        if high[1] - low[1] < 2.9:
                            length = float(high[0] - low[0])
                            self.stand(thing, road, s + length / 2, side * (road.half_width - 1.32),
                                       0.0 if side < 0 else np.pi, (sf.ROAD,), room=0.95)  # fmt: skip
                            s += length
                    s += rng.uniform(0.9, 5.0)

    # -- what moves ---------------------------------------------------------------------------------------

    def drivers(self) -> None:
        """Traffic on the circuit, the ego vehicle among it, and cars that come to a stop in side streets."""
        rng, road = self.rng, self.plan.roads[0]
        speed = []
        self.stock.ego = len(self.stock.entries)
        ego_s = float(rng.uniform(0, road.length))
        for direction in (1.0, -1.0):
            for lane in range(road.lanes):
                row = len(speed)
                speed.append(
                    [
                        rng.uniform(3.0, 9.0),
                        rng.uniform(0.0, 0.5),
                        rng.uniform(0.15, 0.5),
                        rng.uniform(0, 6.28),
                    ]
                )
                d = -direction * (road.median + (lane + 0.5) * road.lane_width)
                outer = lane == road.lanes - 1
                has_ego = direction > 0 and outer
                if has_ego:
                    track = Track(0, ego_s, d, 1.0, row)
                    self.stock.entries.insert(self.stock.ego, Entry(vehicles.ego(), (0, 0, 0, 0, 0), track))
                s, end = ego_s + (9.0 if has_ego else 0.0), ego_s + road.length - (11.0 if has_ego else 8.0)
                while True:
                    s += rng.exponential(11.0) + 2.5
                    thing, rider = self._driver(outer)
                    low, high = thing.assembly.bounds()
                    if s + high[0] - low[0] > end:
                        break
                    behind = -low[0] if direction > 0 else high[0]
                    at = s + float(behind)
                    self.stock.entries.append(
                        Entry(thing, (0, 0, 0, 0, 0), Track(0, at, d, direction, row), rider)
                    )
                    s += float(high[0] - low[0])
                    if thing.noun == "truck" and "tractor truck" in thing.synonyms and direction < 0:
                        trailer = vehicles.trailer(rng)
                        t_low, t_high = trailer.assembly.bounds()
                        if s + t_high[0] - t_low[0] < end:
                            self.stock.entries.append(
                                Entry(
                                    trailer,
                                    (0, 0, 0, 0, 0),
                                    Track(0, s + float(t_high[0]) - 0.6, d, direction, row),
                                )
                            )
                            s += float(t_high[0] - t_low[0])
        self.stock.speed = np.array(speed)

    def _driver(self, outer: bool) -> tuple[Thing, bool]:
        rng = self.rng
        kind = int(rng.choice(5, p=[0.46, 0.16, 0.12, 0.13, 0.13] if outer else [0.6, 0.16, 0.09, 0.15, 0.0]))
        if kind == 3:
            return people.motorcycle(rng, rider=True), True
        if kind == 4:
            return people.bicycle(rng, rider=True), True
        return [vehicles.car, vehicles.truck, vehicles.bus][kind](rng), False

    def walkers(self) -> None:
        """Pedestrians along the circuit's sidewalks; each has a line of its own so that nobody collides."""
        rng, road = self.rng, self.plan.roads[0]
        low = max(self.plan.verge, 0.5) + 0.4
        for side in (-1.0, 1.0):
            for _ in range(int(road.length / 100 * rng.uniform(3, 11))):
                thing = people.pedestrian(rng)
                height = float(thing.assembly.bounds()[1, 2])
                d = side * (road.half_width + rng.uniform(low, max(self.plan.walk - 0.5, low + 0.1)))
                speed = rng.uniform(0.7, 1.7)
                track = Track(0, float(rng.uniform(0, road.length)), float(d), float(rng.choice([-1.0, 1.0])),
                              speed=float(speed), stride=2 * np.pi / (0.8 * height))  # fmt: skip
                pose = (0.0, 0.0, float(HEIGHT[sf.SIDEWALK]), 0.0, float(rng.uniform(0, 6)))
                self.stock.entries.append(Entry(thing, pose, track))

    def horizon(self) -> None:
        """Towers and mounds of trees far away, so that streets do not end in the void."""
        rng = self.rng
        g = self.plan.ground
        middle = g.grid[:2] + 0.5 * g.grid[2] * np.array(
            [g.grid[3], (len(g.cell_start) - 1) // int(g.grid[3])]
        )
        reach = 0.55 * float(np.linalg.norm(middle - g.grid[:2])) + 90.0
        for k in range(44):
            turn, r = 2 * np.pi * (k + rng.uniform(0, 0.6)) / 44, reach + rng.uniform(0, 110)
            x, y = middle[0] + r * np.cos(turn), middle[1] + r * np.sin(turn)
            if rng.random() < 0.6:
                thing = buildings.tower(rng, rng.uniform(18, 36), rng.uniform(14, 24))
            else:
                thing = plants.bush(rng)
                thing.noun = "trees"
                parts = thing.assembly.parts
                thing.assembly.parts = [
                    type(p)(**{**p.__dict__, "centre": tuple(12 * c for c in p.centre),
                               "half": tuple(12 * h for h in p.half), "open": (0.15, 1.1)})
                    for p in parts
                ]  # fmt: skip
            self.stock.entries.append(Entry(thing, (x, y, 0.0, turn - np.pi / 2, 0.0)))


def populate(plan: Plan, rng: np.random.Generator) -> Stock:
    """Everything that stands, drives and walks in a planned city."""
    filler = _Filler(plan, rng)
    filler.parked()
    filler.lots()
    filler.kerbs()
    filler.drivers()
    filler.walkers()
    filler.horizon()
    return filler.stock
