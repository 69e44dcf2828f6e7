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


def class_counts(
    codes: Sequence[bytes], size: tuple[int, int], classes: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Pixels of every mask that lie in cells of each class; as `cell_counts`, added up.

    Args:
        codes: K masks of the image's size.
        size: (H, W) of the image.
        classes: (h, w) in 0..count - 1, of cells that divide the image evenly.
        count: number of classes.

    Returns:
        (K, count) int64.

    Raises:
        ValueError: if a code is not one of a mask of this size.
    """
    runs = parse(codes, *size)
    row, column = (cell_of(pixels, cells) for pixels, cells in zip(size, classes.shape, strict=True))
    counts: NDArray[np.int64] = _walk_classes(runs.ends, runs.offsets, row, column, classes, count)
    return counts


def cell_of(pixels: int, cells: int) -> NDArray[np.int64]:
    """(pixels,) the cell along one axis in which each pixel's centre lies."""
    return ((2 * np.arange(pixels) + 1) * cells) // (2 * pixels)


@njit(cache=True)
def _walk(ends: Any, offsets: Any, row: Any, column: Any, h: int, w: int) -> Any:
    """Runs go down the columns; each is cut where a row of cells ends."""
    H = len(row)
    until = _ends(row, h)
    counts = np.zeros((len(offsets) - 1, h, w), np.float32)
    for k in range(len(offsets) - 1):
        for run in range(offsets[k] + 1, offsets[k + 1], 2):
            left = ends[run] - ends[run - 1]
            x, y = divmod(ends[run - 1], H)
            while left:
                some = min(left, until[row[y]] - y)
                counts[k, row[y], column[x]] += some
                left, y = left - some, y + some
                if y == H:
                    x, y = x + 1, 0
    return counts


@njit(cache=True)
def _walk_classes(ends: Any, offsets: Any, row: Any, column: Any, classes: Any, count: int) -> Any:
    """As `_walk`; runs are cut where the class changes down the column of cells, which is seldom."""
    H = len(row)
    h, w = classes.shape
    until = np.empty((h, w), np.int64)  # where the cells of one class end
    stops = _ends(row, h)
    for y in range(h - 1, -1, -1):
        for x in range(w):
            goes_on = y + 1 < h and classes[y, x] == classes[y + 1, x]
            until[y, x] = until[y + 1, x] if goes_on else stops[y]
    counts = np.zeros((len(offsets) - 1, count), np.int64)
    for k in range(len(offsets) - 1):
        for run in range(offsets[k] + 1, offsets[k + 1], 2):
            left = ends[run] - ends[run - 1]
            x, y = divmod(ends[run - 1], H)
            while left:
                some = min(left, until[row[y], column[x]] - y)
                counts[k, classes[row[y], column[x]]] += some
                left, y = left - some, y + some
                if y == H:
                    x, y = x + 1, 0
    return counts


@njit(cache=True)
def _ends(row: Any, h: int) -> Any:
    """(h,) where the rows of cells end, pixels; a row without pixels ends where the one before does."""
    until = np.zeros(h, np.int64)
    for y in range(len(row)):
        until[row[y]] = y + 1
    for i in range(1, h):
        until[i] = max(until[i], until[i - 1])
    return until
