"""Run lengths out of COCO's compressed codes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def decode_counts(code: bytes) -> NDArray[np.int64]:
    """(R,) int64 run lengths of a compressed code.

    Six bits a character; every run beyond the third is stored as the difference to the last but one.
    """
    counts: NDArray[np.int64] = _decode(np.frombuffer(code, np.uint8))
    return counts


@njit(cache=True)
def _decode(code):  # type: ignore[no-untyped-def]
    out = np.empty(len(code), np.int64)
    n, p = 0, 0
    while p < len(code):
        value, shift, more = np.int64(0), 0, True
        while more:
            bits = np.int64(code[p]) - 48
            value |= (bits & 0x1F) << shift
            more = bits & 0x20 != 0
            p += 1
            shift += 5
            if not more and bits & 0x10:
                value |= np.int64(-1) << shift
        if n > 2:
            value += out[n - 2]
        out[n] = value
        n += 1
    return out[:n]
