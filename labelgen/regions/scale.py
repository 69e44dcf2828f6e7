"""Reduces images before regions are proposed, and scales the masks back without making them dense."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image


def reduce_image(image: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """Reduce an (H, W, 3) image so that its longer side is at most ``max_side`` pixels; None keeps it."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    new_size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(new_size, Image.Resampling.BILINEAR))


def scale_runs(
    counts: NDArray[np.int64], size: tuple[int, int], new_size: tuple[int, int]
) -> NDArray[np.int64]:
    """Nearest-neighbour scaling of a column-major run-length code.

    Pixel (X, Y) of the new mask takes pixel (floor((X + 0.5) w / W), floor((Y + 0.5) h / H)) of the old
    one, that is, the pixel that lies under its centre.

    Args:
        counts: (R,) int64, lengths of runs of background, foreground, background ... in column-major order.
        size: (h, w) of the mask.
        new_size: (H, W) wanted.

    Returns:
        (R',) int64, the same code at the new size.
    """
    if tuple(size) == tuple(new_size):
        return counts
    rows, columns = (source_index(old, new) for old, new in zip(size, new_size, strict=True))
    scaled: NDArray[np.int64] = _scale_runs(counts, size[0], rows, columns)
    return scaled


def source_index(size: int, new_size: int) -> NDArray[np.int64]:
    """(new_size,) int64: for every new row (or column) the old one under its centre."""
    return (2 * np.arange(new_size, dtype=np.int64) + 1) * size // (2 * new_size)


@njit(cache=True)
def _scale_runs(counts, h, source_row, source_column):  # type: ignore[no-untyped-def]
    H, W, w = len(source_row), len(source_column), 0
    total = 0
    for count in counts:
        total += count
    w = total // h

    first_row = np.full(h + 1, H, np.int64)  # first new row that shows an old row >= r
    for Y in range(H - 1, -1, -1):
        first_row[source_row[Y]] = Y
    for r in range(h - 1, -1, -1):
        first_row[r] = min(first_row[r], first_row[r + 1])

    # Foreground intervals of each old column; a run may span several columns.
    begin_of = np.zeros(w + 1, np.int64)
    position = 0
    for i in range(len(counts)):
        end = position + counts[i]
        if i % 2 == 1 and end > position:
            for x in range(position // h, (end - 1) // h + 1):
                begin_of[x + 1] += 1
        position = end
    for x in range(w):
        begin_of[x + 1] += begin_of[x]
    top, bottom = np.empty(begin_of[w], np.int64), np.empty(begin_of[w], np.int64)
    filled = begin_of[:-1].copy()
    position = 0
    for i in range(len(counts)):
        end = position + counts[i]
        if i % 2 == 1 and end > position:
            for x in range(position // h, (end - 1) // h + 1):
                top[filled[x]] = max(position - x * h, 0)
                bottom[filled[x]] = min(end - x * h, h)
                filled[x] += 1
        position = end

    size = 2
    for X in range(W):
        x = source_column[X]
        size += 2 * (begin_of[x + 1] - begin_of[x])
    out = np.empty(size, np.int64)
    n, position = 0, 0  # runs written so far; the pixel after the last of them
    for X in range(W):
        x = source_column[X]
        for k in range(begin_of[x], begin_of[x + 1]):
            start, stop = X * H + first_row[top[k]], X * H + first_row[bottom[k]]
            if stop <= start:
                continue
            if n > 0 and start == position:
                out[n - 1] += stop - start
            else:
                out[n] = start - position
                out[n + 1] = stop - start
                n += 2
            position = stop
    if position < H * W or n == 0:
        out[n] = H * W - position
        n += 1
    return out[:n]
