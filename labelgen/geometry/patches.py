"""Returns as patches of surface in an image: how far they reach, and in which cells of it they lie."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

PATCH_WIDTH = 1.0  #: to each side, in horizontal beam spacings
PATCH_HEIGHT = 0.76  #: to each side, in vertical beam spacings; below the spacing of ground rows in the image
LEVEL_SLOPE = 0.5  #: metres of height per metre of ground
LEVEL_REACH = 1.4  #: vertical beam spacings down to the next row of ground
LEVEL_BELOW = 0.9  #: metres below the camera
MOST_CELLS = 1 << 20  #: of images declared to be larger than any is, where there are fewer views

UNKNOWN, YES, NO = 0, 1, 2  #: whether a return lies on a level surface

#: Columns of a table of views: pixel, depth, gaps to the neighbours in pixels, place in the LiDAR's frame.
U, V, DEPTH, GAP_U, GAP_V, X, Y, Z = range(8)


class Grid(NamedTuple):
    """Cells of an image, three times as wide as a patch reaches, and flat.

    Attributes:
        first: (columns * rows + 1,) int32: row of the table where each cell begins, column by column.
        columns, rows: how many there are.
        cell_u, cell_v: their size in pixels.
        fullest: views in the cell that has most.
    """

    first: NDArray[np.int32]
    columns: int
    rows: int
    cell_u: float
    cell_v: float
    fullest: int


@numba.njit(cache=True, error_model="numpy")
def cells(
    uv: NDArray[np.float32], gap_u: float, gap_v: float, size: tuple[int, int]
) -> tuple[Grid, NDArray[np.int32]]:
    """Cells for gaps of so many pixels between beams, and (V,) int32 views by cell."""
    cell_u, cell_v = max(3 * PATCH_WIDTH * gap_u, 2.0), max(PATCH_HEIGHT * gap_v / 8, 2.0)
    while (size[0] / cell_u + 1) * (size[1] / cell_v + 1) > max(MOST_CELLS, len(uv)):
        cell_u, cell_v = 2 * cell_u, 2 * cell_v
    columns, rows = int(size[0] / cell_u) + 1, int(size[1] / cell_v) + 1
    cell = np.empty(len(uv), np.int32)
    first = np.zeros(columns * rows + 1, np.int32)
    for i in range(len(uv)):
        column = min(max(int(uv[i, 0] / cell_u), 0), columns - 1)
        row = min(max(int(uv[i, 1] / cell_v), 0), rows - 1)
        cell[i] = column * rows + row
        first[cell[i] + 1] += 1
    fullest = 0
    for k in range(columns * rows):
        fullest = max(fullest, first[k + 1])
        first[k + 1] += first[k]
    place = first.copy()
    order = np.empty(len(uv), np.int32)
    for i in range(len(uv)):
        order[place[cell[i]]] = i
        place[cell[i]] += 1
    return Grid(first, columns, rows, cell_u, cell_v, fullest), order


@numba.njit(cache=True, error_model="numpy")
def columns_between(left: float, right: float, grid: Grid) -> tuple[int, int]:
    """First and last column of cells from one pixel to another."""
    return max(int(left / grid.cell_u), 0), min(int(right / grid.cell_u), grid.columns - 1)


@numba.njit(cache=True, error_model="numpy")
def rows_between(top: float, bottom: float, grid: Grid) -> tuple[int, int]:
    """First row of cells from one pixel down to another, and the row after the last."""
    return min(max(int(top / grid.cell_v), 0), grid.rows - 1), min(int(bottom / grid.cell_v) + 1, grid.rows)


@numba.njit(cache=True, error_model="numpy")
def reach_of(q: int, table: NDArray[np.float32]) -> tuple[float, float, float]:
    """How far a view's patch reaches to each side in pixels, and from what depth on views are behind it."""
    d = table[q, DEPTH]
    behind = d + max(np.float32(0.1), np.float32(0.01) * d)  # spares most pairs on one surface
    return np.float32(PATCH_WIDTH) * table[q, GAP_U], np.float32(PATCH_HEIGHT) * table[q, GAP_V], behind


@numba.njit(cache=True, error_model="numpy")
def is_level_with(p: int, q: int, table: NDArray[np.float32]) -> bool:
    """Whether a view p is a nearer return below q in the image, at about the same height."""
    down = (table[p, V] - table[q, V]) / table[q, GAP_V]
    beside = abs(table[p, U] - table[q, U]) <= table[q, GAP_U]
    if not (table[p, DEPTH] < table[q, DEPTH] and beside and 0.2 < down <= LEVEL_REACH):
        return False
    dx, dy = table[p, X] - table[q, X], table[p, Y] - table[q, Y]
    return abs(table[p, Z] - table[q, Z]) < LEVEL_SLOPE * np.sqrt(dx * dx + dy * dy)
