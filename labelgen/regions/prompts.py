"""Where to prompt: a grid over the image, or the surfaces that LiDAR points lie on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Sides of the image cells that are tried, as shares of the image's longer side.
CELLS: NDArray[np.float64] = 2.0 ** np.arange(-8.0, -0.75, 0.25)


def grid(points_per_side: int) -> NDArray[np.float64]:
    """(S * S, 2) shares of the width and height, row by row, in the middle of S x S cells."""
    at = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(at, at)
    return np.column_stack([x.ravel(), y.ravel()])


def thin(
    uv: NDArray[np.float32],
    depth: NDArray[np.float32],
    number: int,
    *,
    side: int,
    jump: float,
) -> NDArray[np.int64]:
    """At most so many of the points, so that every surface that they lie on keeps one.

    The image is cut into square cells; in a cell, a step in depth from one point to the next begins another
    surface. Of each surface the point next to the mean of its points is taken. The cells are the smallest of
    `CELLS` with which the number is kept; where none is large enough, the surfaces with most points count.

    Args:
        uv: (P, 2) pixels.
        depth: (P,) metres.
        number: of points wanted at most.
        side: the image's longer side, pixels.
        jump: step in depth, as a share of the depth.

    Returns:
        Rows of the points that are taken.
    """
    if len(uv) == 0 or number <= 0:
        return np.zeros(0, np.int64)
    small, large = 0, len(CELLS) - 1  # the number of surfaces falls as cells grow: bisect
    while small < large:
        middle = (small + large) // 2
        if len(_surfaces(uv, depth, CELLS[middle] * side, jump)[1]) <= number:
            large = middle
        else:
            small = middle + 1
    order, begin = _surfaces(uv, depth, CELLS[small] * side, jump)
    count = np.diff([*begin, len(order)])
    surface = np.repeat(np.arange(len(begin)), count)
    mean = np.add.reduceat(uv[order].astype(np.float64), begin) / count[:, None]
    distance = ((uv[order] - mean[surface]) ** 2).sum(axis=1)
    nearest: NDArray[np.int64] = order[np.lexsort((distance, surface))[begin]]
    if len(nearest) > number:
        nearest = nearest[np.sort(np.argsort(-count, kind="stable")[:number])]
    return nearest


def _surfaces(
    uv: NDArray[np.float32], depth: NDArray[np.float32], cell: float, jump: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Points sorted by surface, and where each surface begins among them."""
    column, row = (uv / cell).astype(np.int64).T
    order = np.lexsort((depth, column, row))
    far = depth[order]
    new = np.ones(len(order), bool)
    new[1:] = far[1:] > (1 + jump) * far[:-1]
    new[1:] |= (np.diff(row[order]) != 0) | (np.diff(column[order]) != 0)
    return order, np.flatnonzero(new)
