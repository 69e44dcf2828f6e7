"""From overlapping masks to regions: duplicates become one, parts know what they are a part of.

The rule. Masks are taken from the best score down; one whose IoU with a kept mask reaches ``duplicate_iou``
is that region again and is dropped. Of the others, a region whose pixels lie to at least ``containment`` in a
larger one is its part; its parent is the smallest such. Regions still overlap: under one pixel, the smaller
region wins (`labelgen.geometry.view_region`, `paint`), and the vote hears all of them, the
smaller the louder.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import NO_REGION
from labelgen.geometry.rle import Runs, measure


def choose_regions(
    runs: Runs, height: int, score: NDArray[np.float32], duplicate_iou: float, containment: float
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Apply the rule.

    Args:
        runs: K masks of one image.
        height: of the image.
        score: (K,) best is kept; equal scores: the first.
        duplicate_iou: see above.
        containment: see above.

    Returns:
        (R,) rows that are kept, best score first; and (R,) int32 parents as positions in it, -1 for none.
    """
    area, box = measure(runs, height)
    first, second, shared = _overlaps(runs, box, area, min(duplicate_iou, containment))
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    same = shared >= duplicate_iou * (area[first].astype(np.int64) + area[second] - shared)
    kept = _first_of_each(rank[first[same]], rank[second[same]], len(order))
    rows = order[kept]
    position = np.full(len(order), -1, np.int64)
    position[rows] = np.arange(len(rows))
    small = (area[first] < area[second]) | ((area[first] == area[second]) & (rank[first] > rank[second]))
    part, whole = np.where(small, first, second), np.where(small, second, first)
    inside = (shared >= containment * area[part]) & (position[part] >= 0) & (position[whole] >= 0)
    part, whole = part[inside], whole[inside]
    parent = np.full(len(rows), -1, np.int32)
    for k in np.lexsort((rank[whole], area[whole]))[::-1]:  # the smallest is written last
        parent[position[part[k]]] = position[whole[k]]
    return rows, parent


def paint(runs: Runs, size: tuple[int, int]) -> NDArray[np.uint16]:
    """(H, W) row of the smallest region under every pixel, 65535 for none.

    Raises:
        ValueError: more regions than a map can number.
    """
    area, _ = measure(runs, size[0])
    if len(area) >= NO_REGION:
        raise ValueError(f"{len(area)} regions in one label map; the maximum is {NO_REGION - 1}")
    out = np.full(size[0] * size[1], NO_REGION, np.uint16)
    _paint(out, runs, np.argsort(area, kind="stable")[::-1])
    return np.ascontiguousarray(out.reshape(size[1], size[0]).T)


@numba.njit(cache=True)
def _paint(out: NDArray[np.uint16], runs: Runs, order: NDArray[np.int64]) -> None:
    for k in order:
        for i in range(runs.offsets[k] + 1, runs.offsets[k + 1], 2):
            out[runs.ends[i - 1] : runs.ends[i]] = k


@numba.njit(cache=True)
def covered(runs: Runs, pixel: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(P,) whether pixels, counted down the columns, lie in any of the masks."""
    out = np.zeros(len(pixel), np.bool_)
    for k in range(len(runs.offsets) - 1):
        begin, end = runs.offsets[k], runs.offsets[k + 1]
        for p in range(len(pixel)):
            if not out[p]:
                at = np.searchsorted(runs.ends[begin:end], pixel[p], side="right")
                out[p] = at & 1
    return out


@numba.njit(cache=True)
def _overlaps(
    runs: Runs, box: NDArray[np.int32], area: NDArray[np.int32], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of masks that share at least so much of the smaller one, and how many pixels they share."""
    K = len(box)
    first, second, shared = np.empty(64, np.int64), np.empty(64, np.int64), np.empty(64, np.int64)
    n = 0
    for i in range(K):
        for j in range(i + 1, K):
            if (
                box[i, 0] >= box[j, 2]
                or box[j, 0] >= box[i, 2]
                or box[i, 1] >= box[j, 3]
                or box[j, 1] >= box[i, 3]
            ):
                continue
            both = _shared(
                runs.ends[runs.offsets[i] : runs.offsets[i + 1]],
                runs.ends[runs.offsets[j] : runs.offsets[j + 1]],
            )
            if both == 0 or both < least * min(area[i], area[j]):
                continue
            if n == len(first):
                first = np.concatenate((first, np.empty_like(first)))
                second = np.concatenate((second, np.empty_like(second)))
                shared = np.concatenate((shared, np.empty_like(shared)))
            first[n], second[n], shared[n] = i, j, both
            n += 1
    return first[:n], second[:n], shared[:n]


@numba.njit(cache=True)
def _shared(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Pixels of both masks; runs of b before a's first pixel are skipped by bisection."""
    if len(a) < 2 or len(b) < 2:
        return 0
    total = 0
    i = np.searchsorted(a, b[0], side="right") | 1
    j = np.searchsorted(b, a[0], side="right") | 1
    while i < len(a) and j < len(b):
        begin, end = max(a[i - 1], b[j - 1]), min(a[i], b[j])
        if begin < end:
            total += end - begin
        if a[i] < b[j]:
            i += 2
        else:
            j += 2
    return total


@numba.njit(cache=True)
def _first_of_each(first: NDArray[np.int64], second: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Greedy choice: numbers ascending, without those that pair with one chosen before."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    dropped = np.zeros(count, np.bool_)
    for k in np.argsort(low):
        if not dropped[low[k]]:
            dropped[high[k]] = True
    return np.flatnonzero(~dropped)
