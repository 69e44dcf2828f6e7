"""How much of every region lies in every cell of a grid over its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from labelgen.geometry.rle import parse


def cell_counts(codes: Sequence[bytes], size: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Pixels of every mask in every cell; run lengths are walked, nothing is decoded.

    A pixel belongs to the cell in which its centre lies.

    Args:
        codes: K masks of the image's size.
        size: (H, W) of the image.
        grid: (h, w) cells that divide the image evenly.

    Returns:
        (K, h, w) float32.

    Raises:
        ValueError: if a code is not one of a mask of this size.
    """
    runs = parse(codes, *size)
    row, column = (cell_of(pixels, cells) for pixels, cells in zip(size, grid, strict=True))
    counts: NDArray[np.float32] = _walk(runs.ends, runs.offsets, row, column, grid[0], grid[1])
    return counts


def cell_of(pixels: int, cells: int) -> NDArray[np.int64]:
    """(pixels,) the cell along one axis in which each pixel's centre lies."""
    return ((2 * np.arange(pixels) + 1) * cells) // (2 * pixels)


@njit(cache=True)
def _walk(ends: Any, offsets: Any, row: Any, column: Any, h: int, w: int) -> Any:
    """Runs go down the columns; each is cut where a row of cells ends."""
    H = len(row)
    until = np.zeros(h, np.int64)  # where the rows of cells end
    for y in range(H):
        until[row[y]] = y + 1
    counts = np.zeros((len(offsets) - 1, h, w), np.float32)
    for k in range(len(offsets) - 1):
        for run in range(offsets[k] + 1, offsets[k + 1], 2):
            at, end = ends[run - 1], ends[run]
            while at < end:
                x, y = at // H, at % H
                stop = min(end, x * H + until[row[y]])
                counts[k, row[y], column[x]] += stop - at
                at = stop
    return counts
