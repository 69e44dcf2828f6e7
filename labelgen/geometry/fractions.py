"""How much of a region lies around a pixel, as it is stored: in whole steps of one byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Largest step of ``inside`` that can be stored: beyond a reach of 85 pixels it is looked up again.
MOST_STEPS = 255


def whole_reach(reach: float) -> int:
    """Pixels that ``inside`` looks at for a reach: whole ones, at least one; 0 for none."""
    return max(1, round(reach)) if reach else 0


def inside_steps(inside: NDArray[np.float32], reach: int) -> NDArray[np.uint8]:
    """What `inside_of_steps` gives back as it was: ``inside`` has 3 reach values only.

    Args:
        inside: as `region_hits` gives it.
        reach: that it was looked up with, at most `MOST_STEPS` // 3.
    """
    return np.rint(inside * np.float32(3 * reach)).astype(np.uint8)


def inside_of_steps(steps: NDArray[np.uint8], reach: int) -> NDArray[np.float32]:
    """Undo `inside_steps`, to the last bit."""
    sides, nearest = np.divmod(np.arange(3 * reach, dtype=np.int64), reach)
    # In the order of `_around`, whose sums are rounded one by one.
    values = (((nearest + 1) / reach + (sides > 0)) + (sides > 1)) / 3
    table = np.concatenate([[0.0], values]).astype(np.float32)
    found: NDArray[np.float32] = table[steps]
    return found
