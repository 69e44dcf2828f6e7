"""An order in which points that are near each other stand together: a k-d tree without its nodes."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def kd_order(x: NDArray[np.float32], order: NDArray[np.int32], begins: NDArray[np.int64], leaf: int) -> None:
    """Sort the rows within each group so that halves, quarters ... of it are compact.

    A range of rows is cut in its middle, ``(begin + end) // 2``, across its longest side, until it has at
    most ``leaf`` rows or all of them are equal. O(n log n) however the points lie.

    Args:
        x: (n, k) finite coordinates; sorted in place.
        order: (n,) what belongs to each row; sorted along.
        begins: (groups + 1,) where each group begins.
        leaf: rows, at least 1.
    """
    k = x.shape[1]
    stack = np.empty((64, 2), np.int64)  # halves of halves: log2 n of them wait at most
    for group in range(len(begins) - 1):
        stack[0, 0], stack[0, 1] = begins[group], begins[group + 1]
        depth = 1
        while depth:
            depth -= 1
            begin, end = stack[depth, 0], stack[depth, 1]
            if end - begin <= leaf:
                continue
            axis, longest = 0, np.float32(0)
            for a in range(k):
                low = high = x[begin, a]
                for i in range(begin + 1, end):
                    low, high = min(low, x[i, a]), max(high, x[i, a])
                if high - low > longest:
                    axis, longest = a, high - low
            if longest == 0:
                continue
            middle = (begin + end) // 2
            _part(x, order, begin, end, middle, axis)
            stack[depth, 0], stack[depth, 1] = begin, middle
            stack[depth + 1, 0], stack[depth + 1, 1] = middle, end
            depth += 2


@numba.njit(cache=True)
def _part(
    x: NDArray[np.float32], order: NDArray[np.int32], begin: int, end: int, middle: int, axis: int
) -> None:
    """Hoare's selection: no row before ``middle`` is larger than one from there on."""
    left, right = begin, end - 1
    step = 1
    while left < right:
        # The middle one, and from then on one as good as random: no order of the rows makes this slow.
        pivot = x[left + ((right - left) // 2 if step == 1 else step % (right - left + 1)), axis]
        step = (step * 1103515245 + 12345) % 2147483648
        i, j = left, right
        while i <= j:
            while x[i, axis] < pivot:
                i += 1
            while x[j, axis] > pivot:
                j -= 1
            if i <= j:
                for a in range(x.shape[1]):
                    x[i, a], x[j, a] = x[j, a], x[i, a]
                order[i], order[j] = order[j], order[i]
                i, j = i + 1, j - 1
        if middle <= j:
            right = j
        elif middle >= i:
            left = i
        else:
            break
