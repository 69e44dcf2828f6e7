"""The ground: which surface lies at a place, how high, and where a ray meets it.

Roads are lines and arcs with a cross profile; kerbs, sidewalks and verges follow the distance to the union
of all carriageways, whose inner corners are rounded (circular fillet union, Quilez' "opUnionRound").
Beyond the sidewalk lie lots. All heights come from `HEIGHT`, so a ray is tested against a few planes; a kerb
face is found by bisection between two of them.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.nuscenes_categories import INDEX
from labelgen.demo.world.jit import kernel, leaf


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
_FLAT = (
    "driveable_surface",
    "driveable_surface",
    "sidewalk",
    "sidewalk",
    "terrain",
    "terrain",
    "other",
    "other",
    "other",
    "driveable_surface",
)
#: (10,) uint8 general category and (10,) metres of each kind of ground.
CATEGORY = np.array([INDEX[f"flat.{name}"] for name in _FLAT], np.uint8)
HEIGHT = np.array([0.0, 0.0, 0.15, 0.15, 0.15, 0.15, 0.15, 0.0, -0.35, 0.0])
LEVELS = np.array([0.15, 0.0, -0.35])
KERB = 0.3  #: metres of kerb stones at the edge of a carriageway
JUNCTION = 3.0  #: metres beyond a crossing road's kerb at which medians end
LINE, ARC = 0, 1


class Ground(NamedTuple):
    """The road network and the lots along it, as the kernels read them.

    Attributes:
        seg_kind, seg: (S,) uint8 and (S, 10) float64; line: x, y, cos, sin, length, s0; arc (a left turn):
            centre x, y, radius, start angle, angle, s0, unit vectors from the centre to both ends.
        seg_road: (S,) int32.
        cell_start, cell_seg: CSR table of segments near each cell of the search grid.
        grid: (4,) float64: x0, y0, cell size, cells per row.
        road: (R, 8) float64: half width, half width of the median, median's surface, lanes per direction,
            lane width, parking lane width, length (for wrapping), unused.
        lot: (R, 2, K) uint8, surface of each lot right and left of each road.
        verge: (R, 2, K) uint8, surface of the strip between kerb and sidewalk.
        profile: (6,) float64: verge width, sidewalk width, lot depth, lot length, corner radius, and the
            surface of what lies within the blocks.
        piece: (Y, X) uint16, object id by cell of the piece map.
        piece_kind: (Y, X) uint8, surface by cell of the piece map.
        spare: (10,) uint16, object id by surface of slivers that the piece map misses.
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
    spare: NDArray[np.uint16]
    piece_grid: NDArray[np.float64]


@leaf
def _nearest(g, x, y):
    """(segment, d, metres beyond its kerb, and beyond the kerb of the second nearest road) at a place."""
    found, best_d, best, other, best_road = -1, 0.0, 1e9, 1e9, -1
    col, row = int(np.floor((x - g.grid[0]) / g.grid[2])), int(np.floor((y - g.grid[1]) / g.grid[2]))
    width = int(g.grid[3])
    cell = row * width + col
    if not (0 <= col < width and row >= 0 and cell < len(g.cell_start) - 1):
        return found, best_d, best, other
    for k in range(g.cell_start[cell], g.cell_start[cell + 1]):
        i = g.cell_seg[k]
        v = g.seg[i]
        p, q = x - v[0], y - v[1]
        if g.seg_kind[i] == LINE:
            s = p * v[2] + q * v[3]
            if s < -1e-9 or s > v[4] + 1e-9:
                continue
            d = q * v[2] - p * v[3]
        else:
            if v[6] * q - v[7] * p < -1e-9 or p * v[9] - q * v[8] < -1e-9:
                continue
            d = v[2] - np.sqrt(p * p + q * q)
        road = g.seg_road[i]
        beyond = abs(d) - g.road[road, 0]
        if beyond < best:
            if road != best_road:
                other = best
            found, best_d, best, best_road = i, d, beyond, road
        elif road != best_road and beyond < other:
            other = beyond
    return found, best_d, best, other


@leaf
def along(g, i, x, y):
    """Metres along its road of a place beside segment i."""
    v = g.seg[i]
    p, q = x - v[0], y - v[1]
    if g.seg_kind[i] == LINE:
        return v[5] + p * v[2] + q * v[3]
    return v[5] + v[2] * np.arctan2(v[6] * q - v[7] * p, v[6] * p + v[7] * q)


@leaf
def surface(g, x, y):
    """What lies at a place.

    Returns:
        (kind, segment, d, beyond, other, margin): the surface; the nearest segment of a road or -1, and
        metres to the left of its centre line; metres beyond the kerb, negative on the carriageway; the
        same for the second nearest road, 1e9 for none; and for a carriageway how far at least it goes on
        at this height.
    """
    i, d, best, other = _nearest(g, x, y)
    if i < 0:
        return int(g.profile[5]), -1, 0.0, 1e9, 1e9, 0.0
    radius = g.profile[4]
    beyond = best
    if other < 1e8 and best > -radius:
        p, q = max(radius - best, 0.0), max(radius - other, 0.0)
        beyond = max(radius, min(best, other)) - np.sqrt(p * p + q * q)
    r = g.seg_road[i]
    median = g.road[r, 1]
    if beyond < 0.0:
        if median == 0.0:
            return ROAD, i, d, beyond, other, -beyond
        margin = min(-beyond, abs(abs(d) - median), abs(other - JUNCTION))
        if abs(d) < median and other > JUNCTION:
            return int(g.road[r, 2]), i, d, beyond, other, margin
        return ROAD, i, d, beyond, other, margin
    walk = g.profile[0] + g.profile[1]
    if beyond >= walk + g.profile[2]:
        return int(g.profile[5]), i, d, beyond, other, 0.0
    at = along(g, i, x, y) / g.profile[3]
    k = min(max(int(at), 0), g.lot.shape[2] - 1)
    side = 1 if d > 0 else 0
    lot = int(g.lot[r, side, k])
    if beyond >= walk:
        return lot, i, d, beyond, other, 0.0
    if lot == PARKING and other > 12.0 and abs(at - k - 0.5) * g.profile[3] < 3.0:
        return DRIVEWAY, i, d, beyond, other, 0.0
    if KERB < beyond < g.profile[0] and other > 8.0:
        return int(g.verge[r, side, k]), i, d, beyond, other, 0.0
    return SIDEWALK, i, d, beyond, other, 0.0


@leaf
def ground_hit(g, heights, ox, oy, oz, dx, dy, dz, limit, guess):
    """First ground along a ray; ``guess``, the surface that a neighbouring ray met, only saves time.

    Returns:
        (distance, surface, on a kerb's face, segment, d, beyond, other), see `surface`; the distance is
        infinite beyond ``limit``.
    """
    none = (np.inf, ROAD, False, -1, 0.0, 1e9, 1e9)
    if dz >= -1e-9:
        return none
    before = (LEVELS[0] - oz) / dz
    if before > limit:
        return none
    if heights[guess] == 0.0:
        # Far enough from all edges, the ray cannot meet a higher surface before it reaches the carriageway.
        t = -oz / dz
        kind, i, d, beyond, other, margin = surface(g, ox + t * dx, oy + t * dy)
        shift = (t - before) * np.sqrt(dx * dx + dy * dy)
        if heights[kind] == 0.0 and margin > shift:
            return t, kind, False, i, d, beyond, other
    before = 0.0
    for level in range(3):
        z = LEVELS[level]
        t = (z - oz) / dz
        if t <= 0.0:
            continue
        kind, i, d, beyond, other, _ = surface(g, ox + t * dx, oy + t * dy)
        height = heights[kind]
        if height == z:
            return t, kind, False, i, d, beyond, other
        if height > z:
            # The ray went below the edge of a higher surface: between the last plane and this one.
            low, high = before, t
            for _ in range(20):
                mid = 0.5 * (low + high)
                if heights[surface(g, ox + mid * dx, oy + mid * dy)[0]] > oz + mid * dz:
                    high = mid
                else:
                    low = mid
            kind, i, d, beyond, other, _ = surface(g, ox + high * dx, oy + high * dy)
            return high, kind, True, i, d, beyond, other
        before = t
    return none


@leaf
def piece_at(g, kind, x, y):
    """Object id of the connected piece of ground of that kind at a place."""
    kind = ROAD if kind == DRIVEWAY else kind
    size = g.piece_grid[2]
    col = int(np.floor((x - g.piece_grid[0]) / size))
    row = int(np.floor((y - g.piece_grid[1]) / size))
    rows, cols = g.piece.shape
    for reach in range(3):
        for i in range(row - reach, row + reach + 1):
            for j in range(col - reach, col + reach + 1):
                if 0 <= i < rows and 0 <= j < cols and g.piece_kind[i, j] == kind:
                    return g.piece[i, j]
    return g.spare[kind]


@kernel
def surfaces(g, xs, ys):
    """At many places (N,): kinds (N,) uint8, metres beyond the nearest kerb and the second nearest road's."""
    kinds, beyond, other = np.empty(len(xs), np.uint8), np.empty(len(xs)), np.empty(len(xs))
    for i in range(len(xs)):
        kind, _, _, beyond[i], other[i], _ = surface(g, xs[i], ys[i])
        kinds[i] = kind
    return kinds, beyond, other
