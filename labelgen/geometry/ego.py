"""Points on the ego vehicle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: x, y, z minima, then maxima, in the LiDAR frame of nuScenes (x right, y forward, z up), metres. The car
#: (Renault Zoe) is 4.1 m long and 1.75 m wide; its LiDAR stands on the roof, 1.84 m above the ground and
#: 0.94 m ahead of the rear axle. 10 to 20 cm are added all round; the box ends 0.3 m above the LiDAR.
NUSCENES_EGO_BOX = (-1.0, -2.0, -2.5, 1.0, 2.6, 0.3)


def ego_mask(xyz: NDArray[np.float32], box: tuple[float, ...] | None = NUSCENES_EGO_BOX) -> NDArray[np.bool_]:
    """Points inside an axis-aligned box in the LiDAR frame; points that are not finite are outside.

    Args:
        xyz: (N, 3) float32, metres.
        box: x, y, z minima, then maxima; None for no vehicle at all.

    Returns:
        (N,) bool.
    """
    if box is None:
        return np.zeros(len(xyz), np.bool_)
    low, high = np.asarray(box[:3], np.float32), np.asarray(box[3:], np.float32)
    return np.logical_and(xyz > low, xyz < high).all(axis=1)
