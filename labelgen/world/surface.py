"""The ground: which surface lies at a place, how high, and where a ray meets it.

Roads are lines and arcs with a cross profile; kerbs, sidewalks and verges follow the distance to the union
of all carriageways, whose inner corners are rounded (circular fillet union, Quilez' "opUnionRound").
Beyond the sidewalk lie lots. All heights come from `HEIGHT`, so a ray is tested against a few planes; a kerb
face is found by bisection between two of them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from labelgen.world.categories import INDEX


class Surface(IntEnum):
    """Kinds of ground."""

    ROAD = 0
    PARKING = 1
    SIDEWALK = 2
    PLAZA = 3
    GRASS = 4
    DIRT = 5
    ISLAND = 6
    RAILS = 7
    WATER = 8
    DRIVEWAY = 9


ROAD, PARKING, SIDEWALK, PLAZA, GRASS, DIRT, ISLAND, RAILS, WATER, DRIVEWAY = range(10)
_FLAT = ("driveable_surface", "driveable_surface", "sidewalk", "sidewalk", "terrain", "terrain", "other", "other",
         "other", "driveable_surface")  # fmt: skip
#: (10,) uint8 general category and (10,) metres of each kind of ground.
CATEGORY = np.array([INDEX[f"flat.{name}"] for name in _FLAT], np.uint8)
HEIGHT = np.array([0.0, 0.0, 0.15, 0.15, 0.15, 0.15, 0.15, 0.0, -0.35, 0.0])
_LEVELS = np.array([0.15, 0.0, -0.35])
LOWEST = -0.35
LINE, ARC = 0, 1


class Ground(NamedTuple):
    """The road network and the lots along it, as the kernels read them.

    Attributes:
        seg_kind, seg: (S,) uint8 and (S, 8) float64; line: x, y, cos, sin, length, s0; arc: centre x, y,
            radius, start angle, +1 left turn or -1 right turn, angle, s0.
        seg_road: (S,) int32.
        cell_start, cell_seg: CSR table of segments near each cell of the search grid.
        grid: (4,) float64: x0, y0, cell size, cells per row.
        road: (R, 8) float64: half width, half width of the median, median's surface, lanes per direction,
            lane width, parking lane width, length (for wrapping), unused.
        lot: (R, 2, K) uint8, surface of each lot right and left of each road.
        verge: (R, 2, K) uint8, surface of the strip between kerb and sidewalk.
        profile: (6,) float64: verge width, sidewalk width, lot depth, lot length, corner radius, inner surface.
        piece: (Y, X) uint16, object id by cell of the piece map.
        piece_kind: (Y, X) uint8, surface by cell of the piece map.
        piece_grid: (3,) float64: x0, y0, cell size.
    """

    seg_kind: NDArray[np.uint8]
    seg: NDArray[np.float64]
    seg_road: NDArray[np.int32]
    cell_start: NDArray[np.int32]
    cell_seg: NDArray[np.int32]
    grid: NDArray[np.float64]
    road: NDArray[np.float64]
    lot: NDArray[np.uint8]
    verge: NDArray[np.uint8]
    profile: NDArray[np.float64]
    piece: NDArray[np.uint16]
    piece_kind: NDArray[np.uint8]
    piece_grid: NDArray[np.float64]


@njit(cache=True, nogil=True)
def locate(kind, seg, x, y):
    """(s, d) of a place along a segment; d > 0 is left. The last value says whether it is beside it."""
    if kind == LINE:
        u, v = x - seg[0], y - seg[1]
        s = u * seg[2] + v * seg[3]
        return s + seg[5], v * seg[2] - u * seg[3], -1e-9 <= s <= seg[4] + 1e-9
    u, v = x - seg[0], y - seg[1]
    radius = np.sqrt(u * u + v * v)
    turn = seg[4] * (np.arctan2(v, u) - seg[3])
    turn -= 2.0 * np.pi * np.floor(turn / (2.0 * np.pi))
    if turn > seg[5] + 0.5 * (2.0 * np.pi - seg[5]):
        turn -= 2.0 * np.pi
    return seg[6] + turn * seg[2], seg[4] * (seg[2] - radius), -1e-9 <= turn <= seg[5] + 1e-9


@njit(cache=True, nogil=True)
def surface(g, x, y):
    """What lies at a place.

    Returns:
        (kind, s, d, beyond, road, crossing): the surface, the place along and across the nearest road, metres
        beyond the kerb (negative on the carriageway), the road's row or -1, and metres beyond the kerb of the
        second nearest road (large where there is none).
    """
    best_road, best_s, best_d, best_a = -1, 0.0, 0.0, 1e9
    other_a = 1e9
    col = int(np.floor((x - g.grid[0]) / g.grid[2]))
    row = int(np.floor((y - g.grid[1]) / g.grid[2]))
    width = int(g.grid[3])
    height = (len(g.cell_start) - 1) // width
    union = 1e9
    radius = g.profile[4]
    if 0 <= col < width and 0 <= row < height:
        cell = row * width + col
        for k in range(g.cell_start[cell], g.cell_start[cell + 1]):
            i = g.cell_seg[k]
            s, d, beside = locate(g.seg_kind[i], g.seg[i], x, y)
            if not beside:
                continue
            road = g.seg_road[i]
            a = abs(d) - g.road[road, 0]
            if road == best_road:
                if a < best_a:
                    best_s, best_d, best_a = s, d, a
                continue
            if a < best_a:
                other_a = best_a
                best_road, best_s, best_d, best_a = road, s, d, a
            elif a < other_a:
                other_a = a
        union = best_a
        if other_a < 1e8 and best_a > -radius:
            p, q = max(radius - best_a, 0.0), max(radius - other_a, 0.0)
            union = max(radius, min(best_a, other_a)) - np.sqrt(p * p + q * q)
    if best_road < 0:
        return int(g.profile[5]), x, y, 1e9, -1, 1e9
    road = g.road[best_road]
    if union < 0.0:
        kind = ROAD
        if abs(best_d) < road[1] and other_a > 3.0:
            kind = int(road[2])
        elif union > -0.0 and other_a > 3.0:
            kind = ROAD
        return kind, best_s, best_d, union, best_road, other_a
    side = 1 if best_d > 0 else 0
    lots = g.lot.shape[2]
    lot_length = g.profile[3]
    k = int(best_s / lot_length)
    k = min(max(k, 0), lots - 1)
    lot = g.lot[best_road, side, k]
    walk = g.profile[0] + g.profile[1]
    if union < walk:
        if lot == PARKING and other_a > 12.0:
            within = best_s - k * lot_length - 0.5 * lot_length
            if abs(within) < 3.0:
                return DRIVEWAY, best_s, best_d, union, best_road, other_a
        if union < g.profile[0] and union > 0.3 and other_a > 8.0:
            return int(g.verge[best_road, side, k]), best_s, best_d, union, best_road, other_a
        return SIDEWALK, best_s, best_d, union, best_road, other_a
    if union < walk + g.profile[2]:
        return int(lot), best_s, best_d, union, best_road, other_a
    return int(g.profile[5]), x, y, union, best_road, other_a


@njit(cache=True, nogil=True)
def ground_hit(g, heights, ox, oy, oz, dx, dy, dz, limit):
    """(distance, surface, on a kerb face) of the first ground along a ray; infinite beyond ``limit``."""
    if dz >= -1e-9:
        return np.inf, ROAD, False
    before = 0.0
    for level in range(3):
        z = _LEVELS[level]
        t = (z - oz) / dz
        if t > limit and level == 0:
            return np.inf, ROAD, False
        if t <= 0.0:
            continue
        kind = surface(g, ox + t * dx, oy + t * dy)[0]
        height = heights[kind]
        if height == z:
            return t, kind, False
        if height > z:
            # The ray went below the edge of a higher surface: between the last plane and this one.
            low, high = before, t
            for _ in range(22):
                mid = 0.5 * (low + high)
                k = surface(g, ox + mid * dx, oy + mid * dy)[0]
                if heights[k] > oz + mid * dz:
                    high = mid
                else:
                    low = mid
            kind = surface(g, ox + high * dx, oy + high * dy)[0]
            return high, kind, True
        before = t
    return np.inf, ROAD, False


@njit(cache=True, nogil=True)
def piece_at(g, kind, x, y):
    """Object id of the connected piece of ground of that kind at a place (0 beyond the map)."""
    size = g.piece_grid[2]
    col = int(np.floor((x - g.piece_grid[0]) / size))
    row = int(np.floor((y - g.piece_grid[1]) / size))
    rows, cols = g.piece.shape
    for reach in range(3):
        for i in range(row - reach, row + reach + 1):
            for j in range(col - reach, col + reach + 1):
                if 0 <= i < rows and 0 <= j < cols and g.piece_kind[i, j] == kind:
                    return g.piece[i, j]
    i, j = min(max(row, 0), rows - 1), min(max(col, 0), cols - 1)
    return g.piece[i, j]


@njit(cache=True, nogil=True)
def surfaces(g, xs, ys):
    """Kinds (N,) uint8 and metres beyond the nearest kerb (N,) float64 at many places."""
    kinds, beyond = np.empty(len(xs), np.uint8), np.empty(len(xs))
    for i in range(len(xs)):
        kind, _, _, union, _, _ = surface(g, xs[i], ys[i])
        kinds[i], beyond[i] = kind, union
    return kinds, beyond
