"""What hides what where views crowd: the depth test of `labelgen.geometry.occlusion` on blocks of views.

Thousands of views under one patch make millions of pairs. Views that are near each other stand together here
and are asked in blocks of 16, these in blocks of 16, and so on: a block is passed over if it lies outside of
all patches of another one, in front of them, or behind nearer ones already; it is taken whole if they hide
all of it. The result is that of asking every pair.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.geometry.blocks import FAN, Blocks, block_at, largest, lower, pile
from labelgen.geometry.kdorder import kd_order
from labelgen.geometry.patches import (
    DEPTH,
    GAP_U,
    GAP_V,
    LEVEL_REACH,
    LEVEL_SLOPE,
    NO,
    UNKNOWN,
    YES,
    U,
    V,
    X,
    Y,
    Z,
    is_level_with,
    reach_of,
)

_OUT = 1 + 1e-6  # differences of pixels are rounded to float32


class Found(NamedTuple):
    """What is known so far.

    Attributes:
        nearest: (blocks of 16, 16) float32, depth of the nearest patch over each view.
        bound: (blocks,) float32: no view of a block has a nearest patch beyond that.
        level: (n,) uint8, whether a view is on level ground.
    """

    nearest: NDArray[np.float32]
    bound: NDArray[np.float32]
    level: NDArray[np.uint8]


@numba.njit(cache=True, error_model="numpy")
def crowd_order(
    uv: NDArray[np.float32], depth: NDArray[np.float32], gap_u: float, gap_v: float
) -> NDArray[np.int32]:
    """(n,) views, those near each other one after another, for gaps of so many pixels between beams."""
    order = np.arange(len(uv)).astype(np.int32)
    place = np.empty((len(uv), 3), np.float32)
    for i in range(len(uv)):
        place[i, 0], place[i, 1] = uv[i, 0] / gap_u, uv[i, 1] / gap_v
        place[i, 2] = 10 * np.log(max(depth[i], np.float32(1e-6)))  # a tenth of the depth is as a gap
    kd_order(place, order, np.array([0, len(uv)]), FAN)
    return order


@numba.njit(cache=True, error_model="numpy")
def nearest_in_crowds(views: NDArray[np.float32], ground: float) -> tuple[NDArray[np.float32], int]:
    """Depth of the nearest patch that hides each view.

    Args:
        views: (n, 8) table in `crowd_order`.
        ground: metres; what lies on a level surface below this z hides nothing above it in the image.

    Returns:
        (n,) float32, infinite for none, and anything not behind the view for one in plain sight; and how many
        blocks and views were asked.
    """
    n, whole = len(views), (len(views) + FAN - 1) // FAN
    # The last view again and again, so that all of them are in whole blocks.
    table = np.empty((whole * FAN, views.shape[1]), np.float32)
    table[:n], table[n:] = views, views[n - 1]
    blocks = pile(table)
    # Pixels and depths once more, block by block: 16 of each one after another are compared at once.
    beside = np.ascontiguousarray(table[:, :3].copy().reshape(whole, FAN, 3).transpose(0, 2, 1))
    level = np.full(whole * FAN, NO, np.uint8)
    for q in range(whole * FAN):
        if table[q, Z] < ground:
            level[q] = UNKNOWN
    found = Found(
        np.full((whole, FAN), np.inf, np.float32), np.full(len(blocks.low), np.inf, np.float32), level
    )
    asked = 0
    # The nearest first: most others then find what they would hide hidden already. Where depths are alike to
    # a 128th, in the order of the table, whose neighbours are at hand; bits sort as what is positive does.
    rough = np.ascontiguousarray(blocks.low[:whole, DEPTH]).view(np.int32) >> 16
    for front in np.argsort(rough, kind="mergesort"):
        asked += _hide(front, table, beside, blocks, found)
    out = found.nearest.reshape(-1)
    for tier in range(len(blocks.start) - 1):
        size = FAN << 4 * tier
        for b in range(blocks.start[tier], blocks.start[tier + 1]):
            begin = (b - blocks.start[tier]) * size
            if found.bound[b] < np.inf:
                for i in range(begin, begin + size):
                    out[i] = min(out[i], found.bound[b])
    return out[:n], asked


@numba.njit(cache=True, error_model="numpy")
def _hide(
    front: int,
    table: NDArray[np.float32],
    beside: NDArray[np.float32],
    blocks: Blocks,
    found: Found,
) -> int:
    """What the patches of a block of 16 views hide; returns how many blocks and views were asked."""
    begin = front * FAN
    near, first_behind, last_behind = np.inf, np.inf, -np.inf
    top, bottom = np.inf, -np.inf  # the views' own
    # What is out of this box is out of all patches, and what is in that is in all of them.
    out_u0, out_u1, out_v0, out_v1 = np.inf, -np.inf, np.inf, -np.inf
    in_u0, in_u1, in_v0, in_v1 = -np.inf, np.inf, -np.inf, np.inf
    for q in range(begin, begin + FAN):
        u, v, d = table[q, U], table[q, V], table[q, DEPTH]
        reach_u, reach_v, behind = reach_of(q, table)
        near, top, bottom = min(near, d), min(top, v), max(bottom, v)
        first_behind, last_behind = min(first_behind, behind), max(last_behind, behind)
        out_u0, out_u1 = min(out_u0, u - _OUT * reach_u), max(out_u1, u + _OUT * reach_u)
        out_v0, out_v1 = min(out_v0, v - _OUT * reach_v), max(out_v1, v + _OUT * reach_v)
        in_u0, in_u1 = max(in_u0, u - reach_u), min(in_u1, u + reach_u)
        in_v0, in_v1 = max(in_v0, v - reach_v), min(in_v1, v + reach_v)
    low, high = blocks.low, blocks.high
    asked = 0
    p = 0
    while p < len(table):
        tier = largest(p, len(table), blocks)
        while tier >= 0:
            b = block_at(p, tier, blocks)
            asked += 1
            if (high[b, DEPTH] <= first_behind) | (found.bound[b] <= near):
                break
            apart = (low[b, U] > out_u1) | (high[b, U] < out_u0)
            if apart | (low[b, V] > out_v1) | (high[b, V] < out_v0):
                break
            above, below = high[b, V] <= top, low[b, V] > bottom
            if above and _number_level(begin, found.level) == FAN:
                break
            if tier == 0:
                asked += _hide_in_block(b, begin, table, beside, blocks, found)
                break
            all_of_it = (low[b, DEPTH] > last_behind) & (low[b, U] >= in_u0) & (high[b, U] <= in_u1)
            all_of_it &= (low[b, V] >= in_v0) & (high[b, V] <= in_v1)
            if all_of_it and below:
                lower(found.bound, near, b, tier, blocks)
                break
            if all_of_it and above:
                for q in range(begin, begin + FAN):
                    if _is_level(q, table, beside, blocks, found.level) == NO:
                        lower(found.bound, table[q, DEPTH], b, tier, blocks)
                break
            tier -= 1
        p += FAN << 4 * tier
    return asked


@numba.njit(cache=True, error_model="numpy")
def _hide_in_block(
    b: int,
    front: int,
    table: NDArray[np.float32],
    beside: NDArray[np.float32],
    blocks: Blocks,
    found: Found,
) -> int:
    """What the patches of 16 views from ``front`` on hide of the 16 views of a block."""
    low, high = blocks.low, blocks.high
    asked = FAN
    for q in range(front, front + FAN):
        u, v, d = table[q, U], table[q, V], table[q, DEPTH]
        reach_u, reach_v, behind = reach_of(q, table)
        some = (high[b, DEPTH] > behind) & (found.bound[b] > d)
        some &= (low[b, U] - u <= reach_u) & (high[b, U] - u >= -reach_u)
        some &= (low[b, V] - v <= reach_v) & (high[b, V] - v >= -reach_v)
        if not some or (high[b, V] <= v and found.level[q] == YES):
            continue
        asked += FAN
        hidden, upwards = 0, found.level[q] != YES
        for k in range(FAN):
            dv = beside[b, V, k] - v
            inside = (abs(beside[b, U, k] - u) <= reach_u) & (abs(dv) <= reach_v) & (upwards | (dv > 0))
            hidden += inside & (beside[b, DEPTH, k] > behind) & (found.nearest[b, k] > d)
        if hidden == 0:
            continue
        last = np.float32(0)
        for k in range(FAN):
            dv = beside[b, V, k] - v
            inside = (abs(beside[b, U, k] - u) <= reach_u) & (abs(dv) <= reach_v)
            inside &= (beside[b, DEPTH, k] > behind) & (found.nearest[b, k] > d)
            if inside and (dv > 0 or _is_level(q, table, beside, blocks, found.level) == NO):
                found.nearest[b, k] = d
            last = max(last, found.nearest[b, k])
        lower(found.bound, last, b, 0, blocks)
    return asked


@numba.njit(cache=True, error_model="numpy")
def _number_level(begin: int, level: NDArray[np.uint8]) -> int:
    number = 0
    for q in range(begin, begin + FAN):
        number += level[q] == YES
    return number


@numba.njit(cache=True, error_model="numpy")
def _is_level(
    q: int, table: NDArray[np.float32], beside: NDArray[np.float32], blocks: Blocks, level: NDArray[np.uint8]
) -> int:
    """Whether a view lies on a level surface, found out once; what is near in the table is asked first."""
    if level[q] == UNKNOWN:
        level[q] = NO
        begin = end = q // FAN * FAN
        size = FAN
        while level[q] == NO and end - begin < len(table):
            first, last = q // size * size, min(q // size * size + size, len(table))
            if _level_among(q, first, begin, table, beside, blocks) or _level_among(
                q, end, last, table, beside, blocks
            ):
                level[q] = YES
            begin, end, size = first, last, size * FAN
    return level[q]


@numba.njit(cache=True, error_model="numpy")
def _level_among(
    q: int, begin: int, end: int, table: NDArray[np.float32], beside: NDArray[np.float32], blocks: Blocks
) -> bool:
    """Whether one of the views from ``begin`` to ``end``, whole blocks, shows that q lies on level ground."""
    u, v, d, gap_u, gap_v = table[q, U], table[q, V], table[q, DEPTH], table[q, GAP_U], table[q, GAP_V]
    x, y, z = table[q, X], table[q, Y], table[q, Z]
    low, high = blocks.low, blocks.high
    p = begin
    while p < end:
        tier = largest(p, end, blocks)
        while tier >= 0:
            b = block_at(p, tier, blocks)
            none = (low[b, DEPTH] >= d) | (low[b, U] - u > gap_u) | (high[b, U] - u < -gap_u)
            none |= ((high[b, V] - v) / gap_v <= 0.2) | ((low[b, V] - v) / gap_v > LEVEL_REACH)
            dx, dy = max(high[b, X] - x, x - low[b, X]), max(high[b, Y] - y, y - low[b, Y])
            rise = max(low[b, Z] - z, z - high[b, Z])
            if none or rise >= LEVEL_SLOPE * np.sqrt(dx * dx + dy * dy):
                break
            if tier == 0:
                near = 0
                for k in range(FAN):
                    down = (beside[b, V, k] - v) / gap_v
                    near += (abs(beside[b, U, k] - u) <= gap_u) & (beside[b, DEPTH, k] < d) & (down > 0.2)
                for i in range(p, p + FAN if near else p):
                    if is_level_with(i, q, table):
                        return True
                break
            tier -= 1
        p += FAN << 4 * tier
    return False
