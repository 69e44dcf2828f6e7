"""Which points of a cloud are returns: the others stand for beams that never came back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Metres from the LiDAR's origin within which nothing can be measured: there lie beams without a return, at
#: (0, 0, 0) or at the offset of the beam's own origin.
LEAST_RANGE = 0.1
#: Metres from which on nothing can be measured: values such as 1e30 stand for "none".
MOST_RANGE = 10_000.0
#: Metres from which on one and the same range at many points stands for "none", such as 65.535 or 200.
FAR = 30.0
#: That many points, and that share of the cloud, are many.
_MANY, _MANY_SHARE = 20, 0.01
#: Ranges that differ by this part of them or less are one and the same.
_SAME = 1e-4


def returned(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Points that a beam came back from.

    Others are kept in a cloud so that it stays in the file's order, or organised in rows and columns. Their
    coordinates are not finite, at the sensor, farther away than any LiDAR sees, or at a range that a driver
    gives to all of them.

    Args:
        xyz: (N, 3) float32, metres in the LiDAR frame.

    Returns:
        (N,) bool.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.sqrt(np.einsum("ij,ij->i", xyz, xyz, dtype=np.float32))
    found: NDArray[np.bool_] = (distance >= LEAST_RANGE) & (distance <= MOST_RANGE)  # False for NaN
    far = np.flatnonzero(found & (distance > FAR))
    if len(far) >= (many := max(_MANY, _MANY_SHARE * len(xyz))):
        far = far[np.argsort(distance[far])]
        ranges = distance[far]
        ends = np.searchsorted(ranges, ranges * (1 + _SAME), side="right")
        begins = np.flatnonzero(ends - np.arange(len(far)) >= many)
        steps = np.bincount(begins, minlength=len(far) + 1) - np.bincount(
            ends[begins], minlength=len(far) + 1
        )
        found[far[np.cumsum(steps)[:-1] > 0]] = False
    return found
