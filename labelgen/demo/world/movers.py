"""Who moves: traffic on the circuit with the ego vehicle, queues in side streets, people on foot."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world.room import Entry, Room
from labelgen.demo.world.shapes import people, vehicles
from labelgen.demo.world.shapes.thing import Thing
from labelgen.demo.world.traffic import Track

#: Metres of free lane before and behind the ego vehicle at the start.
AHEAD, BEHIND = 9.0, 11.0


def add_drivers(room: Room) -> None:
    """Fill the circuit's lanes; vehicles in a lane share its speed, so they keep their distances."""
    rng, road, stock = room.rng, room.plan.roads[0], room.stock
    speed: list[list[float]] = []
    ego_s = float(rng.uniform(0, road.length))
    for direction in (1.0, -1.0):
        for lane in range(road.lanes):
            outer = lane == road.lanes - 1
            row = len(speed)
            speed.append(
                [rng.uniform(3, 9), rng.uniform(0, 0.5), rng.uniform(0.15, 0.5), rng.uniform(0, 6.28)]
            )
            d = -direction * (road.median + (lane + 0.5) * road.lane_width)
            s, end = ego_s, ego_s + road.length - 8.0
            if direction > 0 and outer:
                stock.ego = len(stock.entries)
                stock.entries.append(Entry(vehicles.ego(), track=Track(0, ego_s, d, 1.0, row)))
                s, end = ego_s + AHEAD, ego_s + road.length - BEHIND
            while s < end:
                s += rng.exponential(11.0) + 2.5
                for thing, rider, gap in _train(rng, outer, direction):
                    low, high = thing.assembly.bounds()
                    if s + gap + high[0] - low[0] > end:
                        s = end
                        break
                    at = s + gap - float(low[0] if direction > 0 else -high[0])
                    stock.entries.append(Entry(thing, track=Track(0, at, d, direction, row), rider=rider))
                    s += gap + float(high[0] - low[0])
    stock.speed = np.array(speed)


def _train(rng: np.random.Generator, outer: bool, direction: float) -> list[tuple[Thing, bool, float]]:
    """A vehicle, perhaps with a trailer: (thing, has a rider, gap before it) in the order of rising s."""
    kind = int(rng.choice(5, p=[0.40, 0.16, 0.12, 0.14, 0.18] if outer else [0.58, 0.17, 0.1, 0.15, 0.0]))
    if kind == 3:
        return [(people.motorcycle(rng, rider=True), True, 0.0)]
    if kind == 4:
        return [(people.bicycle(rng, rider=True), True, 0.0)]
    thing = (vehicles.car, vehicles.truck, vehicles.bus)[kind](rng)
    row = [(thing, False, 0.0)]
    if thing.noun == "truck" and rng.random() < 0.4:
        row.append((vehicles.trailer(rng), False, 0.35))
    return row if direction < 0 else [(t, r, 0.35 * k) for k, (t, r, _) in enumerate(reversed(row))]


def add_queues(room: Room) -> None:
    """Vehicles in side streets that come to rest before the circuit."""
    rng, roads = room.rng, room.plan.roads
    circuit = roads[0]
    for row, road in enumerate(roads[1:], start=1):
        meets = _crossings(room, road)
        for s, heading in meets:
            d = -heading * (road.median + 0.5 * road.lane_width)
            stop, speed = float(rng.uniform(5, 40)), float(rng.uniform(3, 8))
            front = s - heading * (circuit.half_width + 5.5)
            for _ in range(int(rng.integers(0, 5))):
                thing, rider, _ = _train(rng, True, -1.0)[0]
                low, high = thing.assembly.bounds()
                at = front - heading * (stop + float(high[0]))
                if not 2.0 < at - heading * float(high[0] - low[0]) < road.length - 2.0:
                    break
                track = Track(row, at, d, heading, speed=speed, stop=stop)
                room.stock.entries.append(Entry(thing, track=track, rider=rider))
                front -= heading * (float(high[0] - low[0]) + rng.uniform(1.5, 4.0))


def _crossings(room: Room, road: object) -> list[tuple[float, float]]:
    """(s, heading) of each way in which a side street reaches the circuit from outside."""
    line = road.pieces[0]  # type: ignore[attr-defined]
    length = road.length  # type: ignore[attr-defined]
    circuit = room.plan.roads[0]
    steps = np.linspace(0.0, circuit.length, 4000)
    x, y, _ = circuit.at(steps, np.zeros_like(steps))
    along = (x - line[0]) * line[2] + (y - line[1]) * line[3]
    across = (y - line[1]) * line[2] - (x - line[0]) * line[3]
    meets = np.flatnonzero(
        (np.sign(across) != np.sign(np.roll(across, 1))) & (along > -5) & (along < length + 5)
    )
    places = sorted(float(along[k]) for k in meets)
    if not places:
        return []
    return [(places[0], 1.0), (places[-1], -1.0)] if len(places) > 1 else [(places[0], -1.0)]


def add_walkers(room: Room) -> None:
    """People along the circuit's sidewalks; each has a line of its own, so hardly anybody collides."""
    rng, plan = room.rng, room.plan
    road = plan.roads[0]
    low = max(plan.verge, 0.5) + 0.4
    for side in (-1.0, 1.0):
        for _ in range(int(road.length / 100 * rng.uniform(4, 14))):
            person = people.pedestrian(rng)
            height = float(person.assembly.bounds()[1, 2])
            track = Track(
                0,
                float(rng.uniform(0, road.length)),
                float(side * (road.half_width + rng.uniform(low, max(plan.walk - 0.5, low + 0.1)))),
                float(rng.choice([-1.0, 1.0])),
                speed=float(rng.uniform(0.7, 1.7)),
                stride=2 * np.pi / (0.8 * height),
            )
            pose = (0.0, 0.0, 0.0, 0.0, float(rng.uniform(0, 6)))
            room.stock.entries.append(Entry(person, pose, track))
