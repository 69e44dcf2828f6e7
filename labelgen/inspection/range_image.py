"""A sweep as the sensor sees it: azimuth across, elevation down, the nearest point in each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.inspection import drawing

#: Of the picture of one sweep; a cell of a 32-beam sensor's 1084 x 32 is seen whole.
ROWS, COLUMNS = 64, 1084
_FARTHEST = 300.0


def draw_range(
    xyz: NDArray[np.float32] | None,
    colors: NDArray[np.uint8],
    bare: NDArray[np.bool_],
    forward: NDArray[np.float64],
    *,
    width: int,
    height: int,
) -> NDArray[np.uint8]:
    """Draw points by direction; forward is in the middle, left of it what is to the left.

    Args:
        xyz: (N, 3) metres in the LiDAR frame, or None.
        colors: (N, 3) uint8 RGB.
        bare: (N,) points without a label, drawn pale and under the others.
        forward: (2,) direction of the vehicle in the LiDAR frame.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    small = drawing.blank(ROWS, COLUMNS)
    if xyz is not None and len(xyz):
        far = np.linalg.norm(xyz.astype(np.float64), axis=1)
        use = np.flatnonzero((far > 0.5) & (far < _FARTHEST))
        if len(use):
            x, y, z = xyz[use].T
            angle = np.arctan2(y, x) - np.arctan2(forward[1], forward[0])
            across = (0.5 - (angle / (2 * np.pi) + 0.5) % 1.0 + 0.5) % 1.0
            elevation = np.arcsin(z / far[use])
            low, high = np.percentile(elevation, (0.5, 99.5))
            down = np.clip((high - elevation) / max(high - low, 1e-3), 0, 1)
            column = np.minimum((across * COLUMNS).astype(int), COLUMNS - 1)
            row = np.minimum((down * ROWS).astype(int), ROWS - 1)
            # The last one written stays: unlabelled first, then from far to near.
            order = np.lexsort((-far[use], ~bare[use]))
            shown = np.where(bare[:, None], np.array(drawing.BARE, np.uint8), colors)
            small[row[order], column[order]] = shown[use[order]]
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.ascontiguousarray(small[rows][:, columns])
