"""From low-resolution logits straight to run lengths at the image's size; no mask is ever dense.

The official way upsamples the logits of every mask bilinearly (to the network's input, from there to the
image) and compares each pixel with thresholds. Both steps are linear along each axis: a pixel is a sum of at
most three by three weighted logits. Weights are not negative and sum to one: where three neighbours lie on
one side of a threshold, all pixels between them do, and need not be computed.
"""

from __future__ import annotations

from concurrent.futures import Executor
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.geometry.rle import Runs

#: Logits per pixel and axis: two steps of linear interpolation, the first of which enlarges.
TAPS = 3


class Axis(NamedTuple):
    """How the pixels along one axis follow from logits.

    Attributes:
        weight: (n, TAPS) float32, of the logits from ``first`` on.
        first: (n,) int32, ascending.
        begin: (m + 1,) int32, the pixels from ``begin[j]`` to ``begin[j + 1]`` begin with logit j.
    """

    weight: NDArray[np.float32]
    first: NDArray[np.int32]
    begin: NDArray[np.int32]

    @property
    def logits(self) -> int:
        """Number of logits that count."""
        return int(self.first[-1]) + TAPS


@lru_cache(maxsize=64)
def axis(sizes: tuple[int, ...], used: int) -> Axis:
    """Interpolation along one axis, as ``torch.nn.functional.interpolate(mode="bilinear")`` does it.

    Args:
        sizes: number of logits, then the pixels after each step.
        used: pixels that are kept after the first step; the rest is padding.
    """
    product = np.eye(sizes[0])
    for number, new in enumerate(sizes[1:]):
        old = len(product)
        source = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0.0)
        low = np.minimum(source.astype(int), old - 1)
        part = (source - low)[:, None]
        product = (1 - part) * product[low] + part * product[np.minimum(low + 1, old - 1)]
        if number == 0:
            product = product[:used]
    first = np.minimum((product > 0).argmax(axis=1), sizes[0] - TAPS)
    weight = np.take_along_axis(product, first[:, None] + np.arange(TAPS), axis=1)
    begin = np.searchsorted(first, np.arange(first[-1] + 2))
    return Axis(weight.astype(np.float32), first.astype(np.int32), begin.astype(np.int32))


class Window(NamedTuple):
    """Where masks lie in the whole image: all of it, or a crop.

    Attributes:
        left, top: of the crop, pixels.
        width, height: of the whole image.
    """

    left: int
    top: int
    width: int
    height: int


def trace(
    logits: NDArray[np.float32],
    columns: Axis,
    rows: Axis,
    window: Window,
    *,
    offset: float = 1.0,
    pool: Executor | None = None,
    threads: int = 1,
) -> tuple[list[NDArray[np.int32]], NDArray[np.float32]]:
    """Run lengths of the masks whose logits are above zero, and how stable they are.

    Args:
        logits: (M, w, h), columns first; NaN is taken as background.
        columns: how pixels follow from them, along x.
        rows: along y.
        window: the image.
        offset: of the stability score (Kirillov et al. 2023, appendix B).
        pool: of threads, or None.
        threads: masks are shared among so many.

    Returns:
        Per mask the pixels, counted down the columns, at which its runs end (see
        `labelgen.geometry.rle.Runs`); and (M,) pixels above ``offset`` over pixels above ``-offset``, NaN for
        a mask that has neither.
    """
    limit = np.float32(offset)
    if pool is None or len(logits) < 2 * threads:
        parts = [_trace(logits, columns, rows, window, limit)]
    else:
        pieces = np.array_split(logits, threads)
        parts = list(pool.map(lambda piece: _trace(piece, columns, rows, window, limit), pieces))
    ends = [mask for runs, _ in parts for mask in np.split(runs.ends, runs.offsets[1:-1])]
    return ends[: len(logits)], np.concatenate([stability for _, stability in parts])


@numba.njit(cache=True, nogil=True)
def _trace(
    logits: NDArray[np.float32], columns: Axis, rows: Axis, window: Window, limit: np.float32
) -> tuple[Runs, NDArray[np.float32]]:
    M, w, h = logits.shape
    height = window.height
    bottom = len(rows.first) + window.top
    through = bottom - window.top == height  # a run goes on from the end of a column to the next one
    offsets = np.zeros(M + 1, np.int64)
    stability = np.empty(M, np.float32)
    store = np.empty(4096, np.int32)
    line = np.empty(h, np.float32)
    used = np.empty(w, np.bool_)
    n = 0
    for m in range(M):
        upper, lower = h, -1  # logits above -limit lie in these rows
        for x in range(w):
            used[x] = False
            for y in range(h):
                if logits[m, x, y] > -limit:
                    used[x] = True
                    upper, lower = min(upper, y), max(lower, y)
        upper = max(upper - TAPS + 1, 0)
        lower = min(lower, h - TAPS)
        inner = outer = 0
        inside = False
        for X in range(len(columns.first)):
            if n + height + 3 > len(store):
                store = np.concatenate((store, np.empty(len(store) + height + 3, np.int32)))
            at = (window.left + X) * height
            a = columns.first[X]
            if not (used[a] or used[a + 1] or used[a + 2]):
                if inside:
                    store[n] = at
                    n += 1
                    inside = False
                continue
            u, v, t = columns.weight[X]
            for y in range(upper, lower + TAPS):
                line[y] = u * logits[m, a, y] + v * logits[m, a + 1, y] + t * logits[m, a + 2, y]
            at += window.top
            if inside and rows.begin[upper] > 0:
                store[n] = at
                n += 1
                inside = False
            for y in range(upper, lower + 1):
                p, q, r = line[y], line[y + 1], line[y + 2]
                begin, end = rows.begin[y], rows.begin[y + 1]
                if not (p > -limit or q > -limit or r > -limit):
                    if inside and begin < end:
                        store[n] = at + begin
                        n += 1
                        inside = False
                elif p > limit and q > limit and r > limit:
                    inner += end - begin
                    outer += end - begin
                    if not inside and begin < end:
                        store[n] = at + begin
                        n += 1
                        inside = True
                else:
                    for Y in range(begin, end):
                        u, v, t = rows.weight[Y]
                        value = u * p + v * q + t * r
                        inner += value > limit
                        outer += value > -limit
                        if (value > 0) != inside:
                            store[n] = at + Y
                            n += 1
                            inside = not inside
            after = rows.begin[lower + 1]
            if inside and (not through or after < len(rows.first)):
                store[n] = at + after
                n += 1
                inside = False
        if inside:
            store[n] = (window.left + len(columns.first)) * height
            n += 1
        if n == offsets[m] or store[n - 1] != window.width * height:
            store[n] = window.width * height
            n += 1
        offsets[m + 1] = n
        stability[m] = inner / outer if outer else np.nan
    return Runs(store[:n].copy(), offsets), stability
