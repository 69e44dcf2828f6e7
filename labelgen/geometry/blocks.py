"""Rows of a table in blocks of 16, these in blocks of 16, and so on: a scan asks a block before its rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

#: Rows in a block, and blocks in a block of the next level.
FAN = 16
_BITS = 4


class Blocks(NamedTuple):
    """Bounds of whole blocks, level by level; what is left over at the end of a level is in none.

    Attributes:
        low, high: (blocks, k) least and largest value in each column.
        start: (levels + 1,) int64, where each level begins.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    start: NDArray[np.int64]


@numba.njit(cache=True)
def pile(table: NDArray[np.float32]) -> Blocks:
    """Blocks over the rows of a table (n, k)."""
    n, k = table.shape
    levels, total, size = 0, 0, n >> _BITS
    while size:
        levels, total, size = levels + 1, total + size, size >> _BITS
    start = np.zeros(levels + 1, np.int64)
    low, high = np.empty((total, k), np.float32), np.empty((total, k), np.float32)
    for level in range(levels):
        begin = start[level]
        start[level + 1] = begin + (n >> _BITS * (level + 1))
        for b in range(begin, start[level + 1]):
            under = FAN * (b - begin) + (start[level - 1] if level else 0)
            for a in range(k):
                least = table[under, a] if level == 0 else low[under, a]
                most = table[under, a] if level == 0 else high[under, a]
                for c in range(under + 1, under + FAN):
                    least = min(least, table[c, a] if level == 0 else low[c, a])
                    most = max(most, table[c, a] if level == 0 else high[c, a])
                low[b, a], high[b, a] = least, most
    return Blocks(low, high, start)


@numba.njit(cache=True)
def largest(row: int, end: int, blocks: Blocks) -> int:
    """Level of the largest block that begins with a row and is over by ``end``; -1 if none is."""
    level, size = -1, FAN
    while level + 2 < len(blocks.start) and row & (size - 1) == 0 and row + size <= end:
        level, size = level + 1, size << _BITS
    return level


@numba.njit(cache=True)
def block_at(row: int, level: int, blocks: Blocks) -> int:
    """The block of a level that begins with a row."""
    return blocks.start[level] + (row >> _BITS * (level + 1))


@numba.njit(cache=True)
def lower(bound: NDArray[np.float32], value: Any, block: int, level: int, blocks: Blocks) -> None:
    """Lower a block's upper bound, and where it is the last of 16, that of the block over them, and on."""
    bound[block] = min(bound[block], np.float32(value))
    while level + 2 < len(blocks.start) and (block - blocks.start[level]) % FAN == FAN - 1:
        most = bound[block]
        for b in range(block - FAN + 1, block):
            most = max(most, bound[b])
        block = blocks.start[level + 1] + (block - blocks.start[level]) // FAN
        level += 1
        if block < blocks.start[level + 1]:
            bound[block] = min(bound[block], most)
        else:
            break
