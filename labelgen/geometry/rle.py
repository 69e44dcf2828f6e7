"""Masks as run lengths: COCO's compressed code, written and read without decoding to pixels.

COCO's code (pycocotools, ``maskApi.c``): pixels are counted down the columns, runs alternate between
background and mask, beginning with background; from the fourth on, a run is stored as the difference to
the run two before it; numbers are little-endian groups of five bits, the sixth bit says that more
follow, and 48 is added to make them printable. A code does not hold the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_PROBLEMS = {
    1: "a byte is not in the alphabet",
    2: "a number is cut off or too long",
    3: "a run is negative or goes beyond the image",
    4: "the runs end before the image does",
}
_MOST_GROUPS = 7  #: of five bits; enough for the difference of two 32-bit runs


class Runs(NamedTuple):
    """K masks of one size as the pixels, counted down the columns, at which runs end.

    Attributes:
        ends: int32; of mask k, ``ends[offsets[k]:offsets[k + 1]]``, ascending: the odd ones (1, 3, ...)
            end a run of the mask, the even ones a run of background.
        offsets: (K + 1,) int64.
    """

    ends: NDArray[np.int32]
    offsets: NDArray[np.int64]


def encode(mask: NDArray[np.bool_]) -> bytes:
    """COCO's compressed code of a mask.

    Args:
        mask: (H, W) bool.
    """
    return to_codes(_mask_runs(np.ascontiguousarray(mask, np.bool_)))[0]


def encode_labels(labels: NDArray[np.integer[Any]], count: int) -> tuple[bytes, ...]:
    """Codes of the ``count`` masks ``labels == 0``, ``labels == 1``, ..., in one pass.

    Args:
        labels: (H, W) integers; those outside 0..count - 1 belong to no mask.
        count: number of masks; one without pixels gets the code of an empty mask.
    """
    return to_codes(_label_runs(np.ascontiguousarray(labels, np.int32), count))


def to_codes(runs: Runs) -> tuple[bytes, ...]:
    """Codes of masks given as runs; `parse` reads them back."""
    data, offsets = _compress(runs)
    joined, at = data.tobytes(), offsets.tolist()
    return tuple(joined[begin:end] for begin, end in pairwise(at))


def decode(code: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The mask of a code, (H, W) bool.

    Raises:
        ValueError: if the code is not one of a mask of this size.
    """
    return _paint(parse((code,), height, width).ends, height, width)


def area_and_box(
    codes: Sequence[bytes], height: int, width: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Area and bounding box of masks, without decoding them.

    Returns:
        (K,) int32 pixels, and (K, 4) float32 left, top, right, bottom, the last two exclusive; zeros for
        an empty mask.

    Raises:
        ValueError: if a code is not one of a mask of this size.
    """
    area, box = measure(parse(codes, height, width), height)
    return area, box.astype(np.float32)


def parse(codes: Sequence[bytes], height: int, width: int) -> Runs:
    """Read codes that may come from anywhere.

    Raises:
        ValueError: if a code is damaged or not one of a mask of this size.
    """
    if height <= 0 or width <= 0 or height * width >= 2**31:
        raise ValueError(f"a mask cannot be {width} x {height} pixels")
    lengths = np.fromiter(map(len, codes), np.int64, len(codes))
    data = np.frombuffer(b"".join(codes), np.uint8)
    runs, problem, number = _parse(data, lengths, height * width)
    if problem:
        raise ValueError(
            f"run-length code {number} of {len(codes)}: {_PROBLEMS[problem]} ({width} x {height})"
        )
    return runs


@numba.njit(cache=True)
def _parse(data: NDArray[np.uint8], lengths: NDArray[np.int64], pixels: int) -> tuple[Runs, int, int]:
    """Runs; and the first problem (0 for none) with the code that has it."""
    ends = np.empty(len(data), np.int32)  # a run takes at least one byte
    offsets = np.zeros(len(lengths) + 1, np.int64)
    at = stored = problem = k = 0
    while k < len(lengths) and not problem:
        stop = at + lengths[k]
        before = last = position = number = 0
        while at < stop and not problem:
            value = shift = 0
            more = True
            while more:
                if at == stop or shift == 5 * _MOST_GROUPS:
                    problem = 2
                    break
                group = int(data[at]) - 48
                if not 0 <= group <= 63:
                    problem = 1
                    break
                at += 1
                value |= (group & 31) << shift
                shift += 5
                more = group & 32 != 0
                if not more and group & 16:
                    value -= 1 << shift
            run = value + before if number > 2 else value
            if not 0 <= run <= pixels - position:
                problem = problem or 3
            if not problem:
                before, last = last, run
                number += 1
                position += run
                ends[stored] = position
                stored += 1
        if position != pixels:
            problem = problem or 4
        k += 1
        offsets[k] = stored
    return Runs(ends[:stored], offsets), problem, k - 1


@numba.njit(cache=True)
def _mask_runs(mask: NDArray[np.bool_]) -> Runs:
    """Runs of one mask. Columns without a pixel of it are not walked."""
    H, W = mask.shape
    touched = np.zeros(W, np.bool_)
    for y in range(H):
        for x in range(W):
            touched[x] |= mask[y, x]
    ends = np.empty(H * W + 1, np.int32)
    count = 0
    inside = False
    for x in range(W):
        if touched[x]:
            for y in range(H):
                if mask[y, x] != inside:
                    ends[count] = x * H + y
                    count += 1
                    inside = not inside
        elif inside:
            ends[count] = x * H
            count += 1
            inside = False
    ends[count] = H * W
    return Runs(ends[: count + 1], np.array([0, count + 1]))


@numba.njit(cache=True)
def _label_runs(labels: NDArray[np.int32], count: int) -> Runs:
    """Runs of every label: one walk that counts them and one that writes them."""
    H, W = labels.shape
    offsets = np.zeros(count + 1, np.int64)
    ends = np.empty(0, np.int32)
    for writing in range(2):
        number = np.zeros(count, np.int64)
        until = np.full(count, -1, np.int64)  # where the label's latest run ended
        for x in range(W):
            y = 0
            while y < H:
                label = labels[y, x]
                begin = y
                y += 1
                while y < H and labels[y, x] == label:
                    y += 1
                if label < 0 or label >= count:
                    continue
                if until[label] != x * H + begin:
                    if writing:
                        at = offsets[label] + number[label]
                        ends[at] = x * H + begin
                    number[label] += 2
                until[label] = x * H + y
                if writing:
                    ends[offsets[label] + number[label] - 1] = x * H + y
        if writing:
            break
        for k in range(count):  # the background's last run is there unless the mask ends with the image
            offsets[k + 1] = offsets[k] + number[k] + (until[k] != H * W)
        ends = np.empty(offsets[count], np.int32)
        for k in range(count):
            ends[offsets[k + 1] - 1] = H * W
    return Runs(ends, offsets)


@numba.njit(cache=True)
def _compress(runs: Runs) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bytes of all codes, and (K + 1,) where each begins."""
    ends, offsets = runs
    data = np.empty(_MOST_GROUPS * len(ends), np.uint8)
    begins = np.zeros(len(offsets), np.int64)
    at = 0
    for k in range(len(offsets) - 1):
        previous = before = last = 0
        for i in range(offsets[k], offsets[k + 1]):
            run = ends[i] - previous
            value = run - before if i - offsets[k] > 2 else run
            before, last, previous = last, run, ends[i]
            more = True
            while more:
                group = value & 31
                value >>= 5
                more = value != -1 if group & 16 else value != 0
                data[at] = group + 48 + (32 if more else 0)
                at += 1
        begins[k + 1] = at
    return data[:at], begins


@numba.njit(cache=True)
def _paint(ends: NDArray[np.int32], height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.bool_)
    for i in range(1, len(ends), 2):
        for at in range(ends[i - 1], ends[i]):
            mask[at % height, at // height] = True
    return mask


@numba.njit(cache=True)
def measure(runs: Runs, height: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Areas (K,) and boxes (K, 4), as in `area_and_box`, of masks that are parsed already."""
    K = len(runs.offsets) - 1
    area = np.zeros(K, np.int32)
    box = np.zeros((K, 4), np.int32)
    for k in range(K):
        total = right = bottom = x = above = 0  # the current column, and the pixel it begins with
        left = top = 2**31 - 1
        for i in range(runs.offsets[k] + 1, runs.offsets[k + 1], 2):
            begin, end = runs.ends[i - 1], runs.ends[i]
            if begin == end:
                continue
            total += end - begin
            if begin - above >= height:  # most often the next column: spares the division
                x += 1
                above += height
                if begin - above >= height:
                    x = begin // height
                    above = x * height
            left = min(left, x)
            right = x + 1
            if end - above <= height:
                top = min(top, begin - above)
                bottom = max(bottom, end - above)
            else:
                right = (end - 1) // height + 1
                top, bottom = 0, height
        if total:
            area[k] = total
            box[k, 0], box[k, 1], box[k, 2], box[k, 3] = left, top, right, bottom
    return area, box


def label_counts(codes: Sequence[bytes], labels: NDArray[np.integer[Any]], count: int) -> NDArray[np.int64]:
    """How many pixels of every mask hold each label.

    Args:
        codes: K codes of masks of the label map's size.
        labels: (H, W) integers; those outside 0..count - 1 are not counted.
        count: number of labels.

    Returns:
        (K, count) int64.

    Raises:
        ValueError: if a code is not one of a mask of this size.
    """
    columns = np.ascontiguousarray(labels.T, np.int64).ravel()
    return _label_counts(parse(codes, labels.shape[0], labels.shape[1]), columns, count)


@numba.njit(cache=True)
def _label_counts(runs: Runs, columns: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    K = len(runs.offsets) - 1
    out = np.zeros((K, count), np.int64)
    for k in range(K):
        for i in range(runs.offsets[k] + 1, runs.offsets[k + 1], 2):
            for pixel in range(runs.ends[i - 1], runs.ends[i]):
                label = columns[pixel]
                if 0 <= label < count:
                    out[k, label] += 1
    return out
