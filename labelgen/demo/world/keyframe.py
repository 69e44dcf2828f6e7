"""One keyframe: a sweep, the six pictures around it, and which camera sees which point."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world import rig
from labelgen.demo.world.categories import FIRST_STUFF
from labelgen.demo.world.city import City
from labelgen.demo.world.lidar import Sweep, scan
from labelgen.demo.world.render import View, aim, expose, thread_count
from labelgen.demo.world.visibility import seen_by, visible_counts

#: Rays along each side of the grid that measures how much of a thing is shown.
_GRID = 16


@dataclass(frozen=True)
class Sighting:
    """What is known of the things around at a keyframe, small enough to be kept for a whole scene.

    Attributes:
        time_s: of the keyframe.
        points_on: LiDAR points by object id.
        shown_of: by object id of a thing, the share of its silhouettes that the six pictures show, 0..1.
    """

    time_s: float
    points_on: dict[int, int]
    shown_of: dict[int, float]


@dataclass(frozen=True)
class Keyframe:
    """What all sensors give around one moment.

    Attributes:
        fired_s: by channel, when the sensor fired; the LiDAR's is the keyframe's time.
        sweep: the point cloud.
        visibility: (N, 6) uint8 bits, see `labelgen.demo.world.visibility`.
        sighting: see there.
    """

    fired_s: dict[str, float]
    sweep: Sweep
    visibility: NDArray[np.uint8]
    sighting: Sighting


def take(
    city: City, time_s: float, image_size: tuple[int, int], picture: Callable[[str, View], None] | None = None
) -> Keyframe:
    """Simulate one keyframe; ``picture(channel, view)`` gets each picture, on any thread."""
    fired = {c.name: time_s - rig.SWEEP_SECONDS * (1.0 - c.sweep_fraction) for c in rig.CAMERAS}
    sweep = scan(city, time_s)

    things = np.unique(sweep.object_id[sweep.category < FIRST_STUFF])
    things = things[[city.items[i].body >= 0 for i in things.tolist()]]
    order = np.argsort(city.parts_object, kind="stable")
    first = np.searchsorted(city.parts_object[order], things)
    last = np.searchsorted(city.parts_object[order], things, side="right")
    rows = np.concatenate([order[a:b] for a, b in zip(first, last, strict=True)])
    start = np.concatenate([[0], np.cumsum(last - first)])

    def shoot(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        shot = aim(city, fired[name], name, image_size)
        bits = seen_by(city, sweep, shot, fired[name])
        view = expose(city, fired[name], name, shot)
        if picture:
            picture(name, view)
        counts = visible_counts(
            shot.prims, shot.bins.rays, shot.bins.near, shot.lens, rows, start, things, view.object_id, _GRID
        )
        return bits, counts

    # Cameras side by side, one thread each: while one writes files another renders.
    with ThreadPoolExecutor(thread_count()) as pool:
        results = list(pool.map(shoot, rig.CAMERA_NAMES))
    ids, counts = np.unique(sweep.object_id, return_counts=True)
    met, shown = np.sum([c for _, c in results], 0).T
    sighting = Sighting(
        time_s,
        dict(zip(ids.tolist(), counts.tolist(), strict=True)),
        dict(zip(things.tolist(), (shown / np.maximum(met, 1)).tolist(), strict=True)),
    )
    visibility = np.stack([bits for bits, _ in results], 1)
    return Keyframe({rig.LIDAR_NAME: time_s, **fired}, sweep, visibility, sighting)
