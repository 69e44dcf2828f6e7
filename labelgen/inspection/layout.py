"""Where the pictures of a frame's cameras stand: as around the vehicle, seen from above.

Cameras that look ahead fill the upper row from left to right, those that look back the lower one:
front left, front, front right; back left, back, back right. The order comes from the calibration, so it
holds for any data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera

#: Cameras that look at most so far (degrees) to the side stand in the upper row.
_AHEAD = 100.0
_MOST_IN_A_ROW = 5


@dataclass(frozen=True)
class Panel:
    """A rectangle in the picture, in pixels; ``camera`` is an index into ``Frame.cameras``."""

    camera: int
    x: int
    y: int
    width: int
    height: int


def forward_direction(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """Driving direction in the LiDAR frame: (2,) unit vector along x or y, to the nearest right angle.

    It is where the camera named "front" looks, or the first camera; LiDAR frames differ in this (nuScenes
    drives along y, KITTI along x). Without cameras it is x.
    """
    if not cameras:
        return np.array([1.0, 0.0])
    named = [
        c for c in cameras if "front" in (name := c.name.lower()) and not ("left" in name or "right" in name)
    ]
    axis = (named or list(cameras))[0].camera_from_lidar[2, :2]
    direction = np.zeros(2)
    k = int(np.argmax(np.abs(axis)))
    direction[k] = 1.0 if axis[k] >= 0 else -1.0
    return direction


def camera_rows(cameras: Sequence[Camera]) -> list[list[int]]:
    """Sort cameras into rows by the direction in which they look.

    Returns:
        Rows of indices, each from left to right; every camera is in one row.
    """
    forward = forward_direction(cameras)
    yaws = []
    for camera in cameras:
        x, y = camera.camera_from_lidar[2, :2]  # the optical axis, in the LiDAR frame
        yaws.append(
            float(np.degrees(np.arctan2(forward[0] * y - forward[1] * x, forward[0] * x + forward[1] * y)))
        )
    ahead = sorted((k for k in range(len(cameras)) if abs(yaws[k]) <= _AHEAD), key=lambda k: -yaws[k])
    behind = sorted((k for k in range(len(cameras)) if abs(yaws[k]) > _AHEAD), key=lambda k: yaws[k] % 360)
    rows = []
    for group in (ahead, behind):
        count = -(-len(group) // _MOST_IN_A_ROW)
        rows += [[int(k) for k in part] for part in np.array_split(group, count)] if count else []
    return rows


def place_cameras(cameras: Sequence[Camera], width: int, gap: int) -> tuple[list[Panel], int]:
    """Give every camera a rectangle with its image's aspect; rows are centred.

    Args:
        cameras: any number.
        width: of the whole picture, pixels.
        gap: between the rectangles, pixels.

    Returns:
        The panels, and the height of all rows with the gaps between them.
    """
    rows = camera_rows(cameras)
    columns = max((len(row) for row in rows), default=1)
    cell = (width - gap * (columns - 1)) // columns
    panels: list[Panel] = []
    y = 0
    for row in rows:
        sizes = []
        for k in row:
            # A lone camera would fill the screen: no row is higher than a third of the width.
            scale = min(cell / cameras[k].width, width / 3 / cameras[k].height)
            sizes.append((max(1, round(cameras[k].width * scale)), max(1, round(cameras[k].height * scale))))
        x = (width - sum(w for w, _ in sizes) - gap * (len(row) - 1)) // 2
        for k, (w, h) in zip(row, sizes, strict=True):
            panels.append(Panel(k, x, y, w, h))
            x += w + gap
        y += max(h for _, h in sizes) + gap
    return panels, max(0, y - gap)
