"""The plan of a city: roads, lots, light and camera settings drawn from a random generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world.light import Weather
from labelgen.demo.world.roads import LOT_DEPTH, LOT_LENGTH, Road, circuit, ground_of, straight
from labelgen.demo.world.shapes.thing import shade
from labelgen.demo.world.surface import Ground, Surface

FloatArray = NDArray[np.float64]

#: First object id of pieces of ground; things have smaller ones.
FIRST_PIECE = 20_000

#: What stands along a stretch of road, and the ground it stands on.
ZONES: dict[str, Surface] = {
    "downtown": Surface.PLAZA,
    "houses": Surface.GRASS,
    "park": Surface.GRASS,
    "industry": Surface.PARKING,
    "site": Surface.DIRT,
    "parking": Surface.PARKING,
    "water": Surface.WATER,
}
_ZONE_WEIGHTS = np.array([0.27, 0.22, 0.13, 0.09, 0.14, 0.09, 0.06])


@dataclass(frozen=True)
class Look:
    """Per-scene camera settings.

    Attributes:
        exposure: mean factor; drift: relative change over time; rate: rad/s.
        offset: (6,) relative factor of each camera; blur: (6,) weight of the lens blur.
        grain: noise in grey levels; quality: of the JPEG files.
        sway: pitch and roll of the ego vehicle in radians, rad/s and phase.
    """

    exposure: float
    drift: float
    rate: float
    offset: FloatArray
    blur: FloatArray
    grain: float
    quality: int
    sway: tuple[float, float, float, float]


@dataclass(frozen=True)
class Plan:
    """What `populate` fills with things.

    Attributes:
        roads: the circuit first, then the side streets.
        zones: (R, 2, K) names of `ZONES` right and left of each road, by lot.
        ground: tables for the kernels; pieces: surface of each piece of ground by object id.
        walk: metres from the kerb to the lots; verge: width of the strip at the kerb.
    """

    roads: list[Road]
    zones: NDArray[np.str_]
    ground: Ground
    pieces: dict[int, Surface]
    walk: float
    verge: float
    weather: Weather
    look: Look


def plan_city(rng: np.random.Generator) -> Plan:
    """Draw a plan."""
    half_x, half_y = rng.uniform(70, 105), rng.uniform(55, 80)
    roads = [circuit(half_x, half_y, rng.uniform(16, 42, 4), **_profile(rng, True))]
    for across in rng.permutation(2)[: int(rng.integers(1, 3))]:
        for _ in range(int(rng.integers(1, 3))):
            profile = _profile(rng, False)
            reach = 130.0
            if across:
                x = rng.uniform(-half_x + 60, half_x - 60)
                if any(abs(r.pieces[0, 0] - x) < 40 and abs(r.pieces[0, 2]) < 0.5 for r in roads[1:]):
                    continue
                through = rng.random() < 0.5
                start = -half_y - reach if through else -half_y
                heading = np.pi / 2 if through or rng.random() < 0.5 else -np.pi / 2
                length = 2 * (half_y + reach) if through else reach
                roads.append(straight(x, start, heading, length, **profile))
            else:
                y = rng.uniform(-half_y + 48, half_y - 48)
                if any(abs(r.pieces[0, 1] - y) < 40 and abs(r.pieces[0, 3]) < 0.5 for r in roads[1:]):
                    continue
                roads.append(straight(half_x, y, 0.0, reach, **profile))
    lots = int(np.ceil(max(road.length for road in roads) / LOT_LENGTH)) + 1
    names = np.array(list(ZONES))
    zones = np.empty((len(roads), 2, lots), names.dtype)
    for row in range(len(roads)):
        for side in range(2):
            k = 0
            while k < lots:
                run = int(rng.integers(1, 4))
                zones[row, side, k : k + run] = rng.choice(names, p=_ZONE_WEIGHTS)
                k += run
    lot = np.vectorize(lambda name: int(ZONES[str(name)]))(zones).astype(np.uint8)
    verge_width = float(rng.choice([0.0, 1.6, 2.2, 3.0], p=[0.25, 0.25, 0.3, 0.2]))
    walk_width = float(rng.uniform(2.2, 4.5))
    verge = np.where(rng.random(zones.shape) < 0.65, int(Surface.GRASS), int(Surface.SIDEWALK)).astype(
        np.uint8
    )
    inner = Surface.GRASS
    profile_row = np.array(
        [verge_width, walk_width, LOT_DEPTH, LOT_LENGTH, rng.uniform(4.0, 8.0), float(inner)]
    )
    ground, pieces = ground_of(roads, lot, verge, profile_row, FIRST_PIECE)
    return Plan(
        roads, zones, ground, pieces, verge_width + walk_width, verge_width, _weather(rng), _look(rng)
    )


def _profile(rng: np.random.Generator, main: bool) -> dict[str, object]:
    lane = float(rng.uniform(3.1, 3.6))
    lanes = int(rng.choice([1, 2], p=[0.5, 0.5])) if main else 1
    kind, median = Surface.ROAD, 0.0
    if main:
        kind, median = [
            (Surface.ROAD, 0.0),
            (Surface.ISLAND, float(rng.uniform(0.5, 1.6))),
            (Surface.RAILS, 3.2),
            (Surface.GRASS, float(rng.uniform(1.0, 2.5))),
        ][int(rng.choice(4, p=[0.3, 0.33, 0.2, 0.17]))]
    parking = float(rng.choice([0.0, 2.4], p=[0.3, 0.7]))
    return {
        "half_width": median + lanes * lane + parking + 0.4,
        "median": median,
        "median_kind": kind,
        "lanes": lanes,
        "lane_width": lane,
        "parking": parking,
    }


def _weather(rng: np.random.Generator) -> Weather:
    clouds = float(rng.uniform(0.0, 1.0))
    height, turn = rng.uniform(0.35, 1.15), rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(height) * np.cos(turn), np.cos(height) * np.sin(turn), np.sin(height)])
    strength = 2.4 * (1.0 - 0.85 * max(clouds - 0.55, 0.0) / 0.45)
    warm = np.array([1.0, 0.93, 0.82]) if height < 0.7 else np.array([1.0, 0.97, 0.92])
    grey = np.array([0.62, 0.66, 0.70])
    zenith = np.array([0.22, 0.40, 0.75]) * (1 - clouds * 0.6) + grey * clouds * 0.6
    horizon = np.array([0.70, 0.80, 0.92]) * (1 - clouds * 0.5) + grey * clouds * 0.6
    base = [
        (0.085, 0.085, 0.09),
        (0.11, 0.108, 0.105),
        (0.30, 0.285, 0.26),
        (0.34, 0.31, 0.27),
        (0.075, 0.125, 0.035),
        (0.25, 0.17, 0.10),
        (0.26, 0.25, 0.23),
        (0.17, 0.15, 0.135),
        (0.035, 0.06, 0.065),
        (0.085, 0.085, 0.09),
    ]
    ground = np.array([shade(rng, colour, 0.3) for colour in base])
    if rng.random() < 0.3:
        ground[int(Surface.SIDEWALK)] = shade(rng, (0.30, 0.14, 0.10), 0.2)
    ground[int(Surface.DRIVEWAY)] = ground[int(Surface.ROAD)]
    return Weather(
        sun,
        strength * warm,
        zenith,
        horizon,
        clouds,
        float(rng.uniform(300, 1500)),
        int(rng.integers(1 << 31)),
        ground,
        int(rng.integers(1 << 31)),
    )


def _look(rng: np.random.Generator) -> Look:
    return Look(
        exposure=float(rng.uniform(0.62, 1.0)),
        drift=float(rng.uniform(0.02, 0.15)),
        rate=float(rng.uniform(0.2, 1.2)),
        offset=rng.uniform(0.88, 1.12, 6),
        blur=rng.uniform(0.15, 0.9, 6),
        grain=float(rng.uniform(1.0, 4.5)),
        quality=int(rng.integers(84, 94)),
        sway=(
            float(rng.uniform(0.0, 0.008)),
            float(rng.uniform(0.0, 0.006)),
            float(rng.uniform(1.0, 4.0)),
            float(rng.uniform(0, 6)),
        ),
    )
