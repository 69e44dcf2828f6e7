"""Does each camera of a frame see as many points as its field of view could hold?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelgen.datasets.checks.inputs import FrameInput
from labelgen.datasets.checks.intrinsics import TINY, field_of_view
from labelgen.datasets.checks.registry import Odd, check

#: A camera is odd that sees less than this share of what one of its lens sees that looks level.
FEWEST = 0.03
#: So many points must be expected for that.
LEAST_EXPECTED = 200
_LOOK = "check camera_from_lidar and the intrinsics (calib.txt, calibrated_sensor.json, frames.parquet)"


@check("no-view", "frame", refuse=True)
def no_view(data: FrameInput) -> Iterator[Odd]:
    """No camera of a frame sees a point, so nothing can be labelled."""
    judged = [camera for camera in data.frame.cameras if min(camera.width, camera.height) >= TINY]
    if len(judged) == 1 and not data.views.visible.any():
        yield Odd(f"camera {judged[0].name}, the only one, sees no point", _LOOK)
    elif judged and not data.views.visible.any():
        yield Odd(f"no camera sees a point ({', '.join(camera.name for camera in judged[:6])})", _LOOK)


@check("few-views", "frame")
def few_views(data: FrameInput) -> Iterator[Odd]:
    """A camera sees no point, or far fewer than its field of view could hold."""
    if not data.views.visible.any():
        return  # told above
    for camera, rows in data.cameras():
        seen = int(np.count_nonzero(data.views.visible[rows]))
        if not seen:
            yield Odd(f"camera {camera.name} sees no point", _LOOK, camera.name)
            continue
        across, up = field_of_view(camera)
        if seen >= FEWEST * len(data.cloud) * across / 360:
            continue
        half = np.sin(np.radians(up / 2))
        level = np.count_nonzero(np.abs(data.cloud.xyz[:, 2]) < half * data.distance)
        expected = level * across / 360
        if expected >= LEAST_EXPECTED and seen < FEWEST * expected:
            yield Odd(
                f"camera {camera.name} sees {seen:,} points, where its {across:.0f} x {up:.0f} degrees could "
                f"hold {expected:,.0f}",
                _LOOK,
                camera.name,
            )
