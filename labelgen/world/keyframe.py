"""One keyframe: a sweep, the six pictures around it, and which camera sees which point."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelgen.world import rig
from labelgen.world.categories import FIRST_STUFF
from labelgen.world.city import City
from labelgen.world.lidar import Sweep, scan
from labelgen.world.render import View, aim, expose, thread_count
from labelgen.world.visibility import seen_by, visible_counts

#: Rays along each side of the grid that measures how much of a thing is shown.
_GRID = 16


@dataclass(frozen=True)
class Keyframe:
    """What all sensors give around one moment.

    Attributes:
        time_s: of the sweep's end, the keyframe's timestamp.
        fired_s: by channel, when the sensor fired.
        sweep: the point cloud.
        visibility: (N, 6) uint8 bits, see `labelgen.world.visibility`.
        points_on: LiDAR points by object id.
        shown_of: by object id of a thing, the share of its silhouettes that the six pictures show, 0..1.
    """

    time_s: float
    fired_s: dict[str, float]
    sweep: Sweep
    visibility: NDArray[np.uint8]
    points_on: dict[int, int]
    shown_of: dict[int, float]

    def without_points(self) -> Keyframe:
        """The same without the arrays, to be kept for a whole scene."""
        none = self.sweep.points[:0]
        empty = replace(
            self.sweep, points=none, category=self.sweep.category[:0], object_id=self.sweep.object_id[:0],
            body=self.sweep.body[:0], fired_s=self.sweep.fired_s[:0], world=self.sweep.world[:0],
            incidence=self.sweep.incidence[:0],
        )  # fmt: skip
        empty = replace(empty, points=none.copy(), category=empty.category.copy(), object_id=empty.object_id.copy(),
                        body=empty.body.copy(), fired_s=empty.fired_s.copy(), world=empty.world.copy(),
                        incidence=empty.incidence.copy())  # fmt: skip
        return replace(self, sweep=empty, visibility=self.visibility[:0].copy())


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
    return Keyframe(
        time_s,
        {rig.LIDAR_NAME: time_s, **fired},
        sweep,
        np.stack([bits for bits, _ in results], 1),
        dict(zip(ids.tolist(), counts.tolist(), strict=True)),
        dict(zip(things.tolist(), (shown / np.maximum(met, 1)).tolist(), strict=True)),
    )
