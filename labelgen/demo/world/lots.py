"""What stands on the lots along the roads, by zone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labelgen.demo.world import surface as sf
from labelgen.demo.world.roads import LOT_LENGTH, Road
from labelgen.demo.world.room import Maker, Room
from labelgen.demo.world.shapes import buildings, machines, people, plants, street, vehicles
from labelgen.demo.world.shapes.thing import Thing


def fill_lots(room: Room) -> None:
    """Fill every lot according to its zone."""
    for row, road in enumerate(room.plan.roads):
        for side in range(2):
            for k in range(int(road.length / LOT_LENGTH)):
                zone = str(room.plan.zones[row, side, k])
                _FILL[zone](room, road, (k + 0.5) * LOT_LENGTH, 1.0 if side else -1.0)


def _building(
    room: Room,
    road: Road,
    s: float,
    side: float,
    make: Callable[..., Thing],
    setback: float,
    width: float,
    depth: float,
) -> None:
    # Fronts look along -y of their own frame: turned to face the road.
    thing = make(room.rng, width, depth)
    yaw = 0.0 if side > 0 else np.pi
    room.stand(thing, road, s, room.beyond(road, side, setback), yaw, min_beyond=room.plan.walk - 0.3)


def _downtown(room: Room, road: Road, s: float, side: float) -> None:
    rng, walk = room.rng, room.plan.walk
    width = LOT_LENGTH - rng.uniform(0.3, 5)
    _building(room, road, s, side, buildings.tower, rng.uniform(0.4, 5.0), width, rng.uniform(11, 18))
    for _ in range(int(rng.integers(0, 4))):
        maker = [street.kiosk, plants.bush, plants.tree, street.bollard][int(rng.integers(4))]
        at = room.beyond(road, side, rng.uniform(0, 2.5))
        room.stand(maker(rng), road, s + rng.uniform(-10, 10), at, np.pi / 2, min_beyond=walk)
    if rng.random() < 0.3:
        room.line_up(street.bollard, road, s, room.beyond(road, side, -0.2), 14, 2.0)


def _houses(room: Room, road: Road, s: float, side: float) -> None:
    rng, walk = room.rng, room.plan.walk
    _building(room, road, s, side, buildings.house, rng.uniform(4, 9), rng.uniform(9, 16), rng.uniform(8, 11))
    edge, length = rng.random(), LOT_LENGTH - 5.0
    if edge < 0.85:
        make = plants.hedge if edge < 0.4 else street.fence if edge < 0.65 else street.wall
        room.stand(make(rng, length), road, s - 2, room.beyond(road, side, 0.6), 0.0, min_beyond=walk)
    for _ in range(int(rng.integers(1, 5))):
        maker: Maker = plants.tree if rng.random() < 0.5 else plants.bush
        at = room.beyond(road, side, rng.uniform(1.5, 14))
        room.stand(maker(rng), road, s + rng.uniform(-10, 10), at, 0.0, (sf.GRASS,), room=0.6)
    if rng.random() < 0.35:
        room.stand(vehicles.car(rng), road, s + 8, room.beyond(road, side, 3.0), np.pi / 2, (sf.GRASS,))


def _park(room: Room, road: Road, s: float, side: float) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(5, 12))):
        maker: Maker = plants.tree if rng.random() < 0.65 else plants.bush
        at = room.beyond(road, side, rng.uniform(1.0, 26))
        room.stand(maker(rng), road, s + rng.uniform(-11, 11), at, 0.0, (sf.GRASS,), room=0.6)
    if rng.random() < 0.4:
        hedge = plants.hedge(rng, LOT_LENGTH - 6)
        room.stand(hedge, road, s, room.beyond(road, side, 0.8), 0.0, min_beyond=room.plan.walk)


def _industry(room: Room, road: Road, s: float, side: float) -> None:
    rng = room.rng
    _building(room, road, s, side, buildings.hall, rng.uniform(14, 18), LOT_LENGTH - 1, 14)
    makers: tuple[Maker, ...] = (
        vehicles.trailer,
        vehicles.truck,
        buildings.container,
        machines.construction_vehicle,
    )
    for _ in range(int(rng.integers(2, 5))):
        maker = makers[int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))]
        yaw = float(rng.choice([0.0, np.pi / 2, -np.pi / 2]))
        at = room.beyond(road, side, rng.uniform(2, 11))
        room.stand(maker(rng), road, s + rng.uniform(-9, 9), at, yaw, (sf.PARKING,))
    if rng.random() < 0.5:
        fence = street.fence(rng, 7.0)
        room.stand(fence, road, s - 7, room.beyond(road, side, 0.2), 0.0, min_beyond=room.plan.walk - 0.2)


def _site(room: Room, road: Road, s: float, side: float) -> None:
    rng = room.rng
    for _ in range(int(rng.integers(1, 3))):
        at = room.beyond(road, side, rng.uniform(3, 12))
        machine = machines.construction_vehicle(rng)
        room.stand(machine, road, s + rng.uniform(-7, 7), at, rng.uniform(0, 6.28), (sf.DIRT,))
    for maker, setback in ((buildings.container, 15.0), (vehicles.truck, 9.0)):
        if rng.random() < 0.5:
            at = room.beyond(road, side, setback)
            room.stand(maker(rng), road, s + rng.uniform(-6, 6), at, rng.uniform(-0.3, 0.3), (sf.DIRT,))
    kind = str(rng.choice(["concrete", "plastic", "fence", "board"]))
    edge = room.beyond(road, side, 0.6) if rng.random() < 0.5 else side * (road.half_width + 0.6)
    paved = (sf.SIDEWALK, sf.GRASS, sf.DIRT)
    room.line_up(lambda r: street.barrier(r, kind), road, s, edge, LOT_LENGTH - 2, 2.2, kinds=paved)
    for _ in range(int(rng.integers(6, 15))):
        at = side * (road.half_width - rng.uniform(-2, 0.3))
        room.stand(street.cone(rng), road, s + rng.uniform(-11, 11), at, rng.uniform(0, 6), None, -0.6)
    for _ in range(int(rng.integers(1, 4))):
        worker = people.pedestrian(rng, walking=False, worker=True)
        at = room.beyond(road, side, rng.uniform(-1, 6))
        room.stand(worker, road, s + rng.uniform(-9, 9), at, rng.uniform(0, 6.28))
    if rng.random() < 0.6:
        _building(room, road, s, side, buildings.tower, 20, LOT_LENGTH - 2, 12)


def _parking(room: Room, road: Road, s: float, side: float) -> None:
    rng = room.rng
    makers: tuple[Maker, ...] = (vehicles.car, vehicles.truck, people.motorcycle, vehicles.trailer)
    for line in range(2):
        for k in range(7):
            if rng.random() < 0.62:
                thing = makers[int(rng.choice(4, p=[0.78, 0.1, 0.08, 0.04]))](rng)
                yaw = np.pi / 2 * float(rng.choice([-1, 1]))
                at = room.beyond(road, side, 3.4 + 11.5 * line)
                room.stand(thing, road, s + (k - 3) * 2.7, at, yaw, (sf.PARKING,), room=0.9)
    _building(room, road, s, side, buildings.tower, 24, LOT_LENGTH - 1, 9)


def _water(room: Room, road: Road, s: float, side: float) -> None:
    rng = room.rng
    fence = street.fence(rng, LOT_LENGTH - 1)
    room.stand(fence, road, s, room.beyond(road, side, -0.3), 0.0, (sf.SIDEWALK, sf.GRASS))
    if rng.random() < 0.6:
        _building(room, road, s, side, buildings.tower, 25.0, LOT_LENGTH - 1, 9)


_FILL: dict[str, Callable[[Room, Road, float, float], None]] = {
    "downtown": _downtown,
    "houses": _houses,
    "park": _park,
    "industry": _industry,
    "site": _site,
    "parking": _parking,
    "water": _water,
}
