"""What stands between the lots and the lanes: street furniture, people, bicycles, parked vehicles."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world import surface as sf
from labelgen.demo.world.roads import Road
from labelgen.demo.world.room import Maker, Room
from labelgen.demo.world.shapes import machines, people, plants, street, vehicles

_WALKED = (sf.GRASS, sf.SIDEWALK)
_LAMP_SPACING = 26.0


def fill_kerbs(room: Room) -> None:
    """Trees, lamps, signals, signs, shelters, parked bicycles and people along all sidewalks."""
    rng = room.rng
    for road in room.plan.roads:
        for side in (-1.0, 1.0):
            near = side * (road.half_width + min(0.7, room.plan.walk / 3))
            outward = 0.0 if side < 0 else np.pi
            for s in np.arange(rng.uniform(0, 20), road.length, _LAMP_SPACING):
                room.stand(street.lamp(rng), road, s, near, outward, (*_WALKED, sf.ROAD), -np.inf, 0.3)
            s = rng.uniform(0, 6)
            while s < road.length:
                _furnish(room, road, s, side, near, outward)
                s += rng.uniform(2.5, 7.0)
            _signals(room, road, side, near)


def _signals(room: Room, road: Road, side: float, near: float) -> None:
    """Traffic lights at one in two crossings."""
    steps = np.arange(0.0, road.length, 1.0)
    x, y, _ = road.at(steps, np.full_like(steps, near))
    _, _, other = sf.surfaces(room.plan.ground, x, y)
    arrives = (other[1:] < 6.0) & (other[:-1] >= 6.0) if side < 0 else (other[:-1] < 6.0) & (other[1:] >= 6.0)
    for s in steps[:-1][arrives]:
        if room.rng.random() < 0.5:
            yaw = np.pi if side < 0 else 0.0
            room.stand(
                street.traffic_light(room.rng), road, float(s), near, yaw, None, -np.inf, 0.05, crossing=True
            )


def _furnish(room: Room, road: Road, s: float, side: float, near: float, outward: float) -> None:
    rng, plan = room.rng, room.plan
    roll = rng.random()
    inner = side * (road.half_width + max(plan.verge, 0.6) + rng.uniform(0.3, 1.2))
    if roll < 0.24 and plan.verge > 1.0:
        at = side * (road.half_width + plan.verge / 2)
        tree = plants.tree(rng, street=True)
        room.stand(tree, road, s, at, rng.uniform(0, 6), min_beyond=-2.0, room=0.35)
    elif roll < 0.34:
        room.stand(street.sign(rng), road, s, near, np.pi if side < 0 else 0.0, _WALKED, room=0.8)
    elif roll < 0.40:
        room.stand(plants.bush(rng), road, s, near + side * 0.6, 0.0, _WALKED, room=0.8)
    elif roll < 0.45:
        room.stand(street.bollard(rng), road, s, near, 0.0, _WALKED)
    elif roll < 0.48:
        room.stand(street.shelter(rng), road, s, inner + side, outward, _WALKED)
    elif roll < 0.52:
        room.stand(street.kiosk(rng), road, s, inner + side, outward, _WALKED)
    elif roll < 0.57:
        room.stand(street.clutter(rng), road, s, inner, rng.uniform(0, 6), _WALKED)
    elif roll < 0.72:
        for k in range(int(rng.integers(1, 6))):
            turn = np.pi / 2 + rng.normal(0, 0.1)
            room.stand(people.bicycle(rng), road, s + 0.7 * k, inner, turn, _WALKED, room=0.9)
    elif roll < 0.80:
        for k in range(int(rng.integers(1, 3))):
            turn = 0.9 + rng.normal(0, 0.2)
            room.stand(people.motorcycle(rng), road, s + 1.1 * k, near + side * 0.7, turn, _WALKED, room=0.9)
    elif roll < 0.91:
        for _ in range(int(rng.integers(1, 5))):
            person = people.pedestrian(rng, walking=False)
            at = inner + side * rng.uniform(0, 1.5)
            room.stand(person, road, s + rng.uniform(-1, 1), at, rng.uniform(0, 6.28), _WALKED)
    elif roll < 0.95:
        kind = str(rng.choice(["concrete", "plastic", "fence", "board"]))
        length = rng.uniform(5, 16)
        room.line_up(lambda r: street.barrier(r, kind), road, s, near, length, 2.2, kinds=_WALKED)
    else:
        at = side * (road.half_width - 0.3)
        room.line_up(street.cone, road, s, at, rng.uniform(6, 18), 1.5, 0.04, (sf.ROAD, sf.SIDEWALK), -np.inf)


def park_vehicles(room: Room) -> None:
    """Vehicles in the parking lanes, away from crossings."""
    rng = room.rng
    makers: tuple[Maker, ...] = (
        vehicles.car,
        vehicles.truck,
        vehicles.trailer,
        vehicles.bus,
        people.motorcycle,
        machines.construction_vehicle,
    )
    for road in room.plan.roads:
        if road.parking == 0.0:
            continue
        for side in (-1.0, 1.0):
            s = rng.uniform(0, 8)
            while s < road.length:
                if rng.random() < 0.62:
                    thing = makers[int(rng.choice(6, p=[0.56, 0.14, 0.10, 0.06, 0.06, 0.08]))](rng)
                    low, high = thing.assembly.bounds()
                    length = float(high[0] - low[0])
                    if high[1] - low[1] < 2.9 and (length < 7.0 or _straight(road, s, length)):
                        at = side * (road.half_width - 1.32)
                        turn = 0.0 if side < 0 else np.pi
                        room.stand(thing, road, s + length / 2, at, turn, (sf.ROAD,), -np.inf, 0.95)
                        s += length
                s += rng.uniform(0.9, 5.0)


def _straight(road: Road, s: float, length: float) -> bool:
    """Whether a road runs straight here, so that a long vehicle does not stick out into the lane."""
    _, _, heading = road.at(np.array([s, s + length]), np.zeros(2))
    return bool(abs(np.sin(heading[1] - heading[0])) < 0.02)
