"""Does each camera of a frame see as many points as its field of view could hold?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelgen.datasets.checks.intrinsics import TINY, field_of_view
from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.checks.sight import FrameSight

#: A camera is odd that sees less than this share of what one of its lens sees that looks level.
FEWEST = 0.03
#: So many points must be expected for that.
LEAST_EXPECTED = 200
_LOOK = "look at camera_from_lidar and the intrinsics (calib.txt, calibrated_sensor.json, frames.parquet)"


@check("no-view", "frame", refuse=True)
def no_view(sight: FrameSight) -> Iterator[Odd]:
    """No camera of a frame sees a point, so that nothing can be labelled."""
    judged = [camera for camera in sight.frame.cameras if min(camera.width, camera.height) >= TINY]
    if len(judged) == 1 and not sight.views.visible.any():
        yield Odd(f"camera {judged[0].name}, the only one, sees no point", _LOOK)
    elif judged and not sight.views.visible.any():
        yield Odd(f"no camera sees a point ({', '.join(camera.name for camera in judged[:6])})", _LOOK)


@check("few-views", "frame")
def few_views(sight: FrameSight) -> Iterator[Odd]:
    """A camera sees no point, or far fewer than its field of view could hold."""
    if not sight.views.visible.any():
        return  # told above
    for camera, rows in sight.cameras():
        seen = int(np.count_nonzero(sight.views.visible[rows]))
        if not seen:
            yield Odd(f"camera {camera.name} sees no point", _LOOK, camera.name)
            continue
        across, up = field_of_view(camera)
        if seen >= FEWEST * len(sight.cloud) * across / 360:
            continue
        half = np.sin(np.radians(up / 2))
        level = np.count_nonzero(np.abs(sight.cloud.xyz[:, 2]) < half * sight.distance)
        expected = level * across / 360
        if expected >= LEAST_EXPECTED and seen < FEWEST * expected:
            yield Odd(
                f"camera {camera.name} sees {seen:,} points, where its {across:.0f} x {up:.0f} degrees could "
                f"hold {expected:,.0f}",
                _LOOK,
                camera.name,
            )
