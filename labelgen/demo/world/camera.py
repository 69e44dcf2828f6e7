"""What a camera's rays meet: parts are sorted into tiles of the picture and rays test a tile's parts.

Distances along a ray are depths (metres along the camera's z axis).
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world.hits import hit
from labelgen.demo.world.jit import kernel, leaf
from labelgen.demo.world.primitives import Prims
from labelgen.demo.world.surface import HEIGHT, Ground, ground_hit

FloatArray = NDArray[np.float64]
TILE = 16
NEAR, FAR = 0.05, 900.0
#: Rows of `Bins.part` stand for parts; these two for the ground and for nothing.
GROUND, NOTHING = -1, -2


class Lens(NamedTuple):
    """A camera at a moment: focal lengths and centre in pixels, place and axes (columns) in the world."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    place: FloatArray
    axes: FloatArray


class Bins(NamedTuple):
    """Parts by tile, nearest first, and rays in each part's frame.

    Attributes:
        start, part: CSR table by tile (row-major) of rows of `Prims`.
        near: (P,) float64, least depth of each part.
        rays: (P, 4, 3) float64: in the part's frame the camera's place and the direction at pixel (0, 0),
            per pixel to the right and per pixel down.
    """

    start: NDArray[np.int32]
    part: NDArray[np.int32]
    near: FloatArray
    rays: FloatArray


def bin_parts(prims: Prims, lens: Lens) -> Bins:
    """Sort all parts that the camera may see."""
    near, rects, rays = _bounds(prims.centre, prims.axes, prims.half, lens)
    order = np.argsort(near, kind="stable")
    start, part = _tiles(order, near, rects, prims.centre, prims.axes, prims.half, lens)
    return Bins(start, part, near, rays)


@kernel
def _bounds(centre, axes, half, lens):
    """Least depth, tile rectangle and rays of each part; near is infinite for what is out of view."""
    n = len(centre)
    near = np.full(n, np.inf)
    rects = np.zeros((n, 4), np.int32)
    rays = np.empty((n, 4, 3))
    corners = np.empty((8, 3))
    m = lens.axes
    for i in range(n):
        a, b, c = centre[i, 0] - lens.place[0], centre[i, 1] - lens.place[1], centre[i, 2] - lens.place[2]
        depth = m[0, 2] * a + m[1, 2] * b + m[2, 2] * c
        radius = np.sqrt(half[i, 0] ** 2 + half[i, 1] ** 2 + half[i, 2] ** 2)
        if depth < NEAR - radius or depth > FAR or radius * lens.fx < 0.25 * depth:
            continue
        at_x = m[0, 0] * a + m[1, 0] * b + m[2, 0] * c
        at_y = m[0, 1] * a + m[1, 1] * b + m[2, 1] * c
        low = np.inf
        for k in range(8):
            x, y, z = at_x, at_y, depth
            for j in range(3):
                h = half[i, j] if (k >> j) & 1 else -half[i, j]
                ax, ay, az = axes[i, 0, j], axes[i, 1, j], axes[i, 2, j]
                x += h * (m[0, 0] * ax + m[1, 0] * ay + m[2, 0] * az)
                y += h * (m[0, 1] * ax + m[1, 1] * ay + m[2, 1] * az)
                z += h * (m[0, 2] * ax + m[1, 2] * ay + m[2, 2] * az)
            corners[k, 0], corners[k, 1], corners[k, 2] = x, y, z
            low = min(low, z)
        u0, u1, v0, v1 = np.inf, -np.inf, np.inf, -np.inf
        for k in range(8):
            if corners[k, 2] >= NEAR:
                u = corners[k, 0] / corners[k, 2]
                v = corners[k, 1] / corners[k, 2]
                u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
            if low < NEAR:
                # Edges that pass the near plane end on it.
                for j in range(3):
                    o = k ^ (1 << j)
                    if o > k and (corners[k, 2] < NEAR) != (corners[o, 2] < NEAR):
                        f = (NEAR - corners[k, 2]) / (corners[o, 2] - corners[k, 2])
                        u = (corners[k, 0] + f * (corners[o, 0] - corners[k, 0])) / NEAR
                        v = (corners[k, 1] + f * (corners[o, 1] - corners[k, 1])) / NEAR
                        u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
        left, right = lens.fx * u0 + lens.cx, lens.fx * u1 + lens.cx
        top, bottom = lens.fy * v0 + lens.cy, lens.fy * v1 + lens.cy
        if right < -0.5 or left > lens.width - 0.5 or bottom < -0.5 or top > lens.height - 0.5:
            continue
        near[i] = max(low, NEAR)
        rects[i, 0], rects[i, 1] = (
            int(max(left, 0.0)) // TILE,
            int(min(right + 1.0, lens.width - 1.0)) // TILE,
        )
        rects[i, 2], rects[i, 3] = (
            int(max(top, 0.0)) // TILE,
            int(min(bottom + 1.0, lens.height - 1.0)) // TILE,
        )
        for j in range(3):
            e0, e1, e2 = axes[i, 0, j], axes[i, 1, j], axes[i, 2, j]
            x = (m[0, 0] * e0 + m[1, 0] * e1 + m[2, 0] * e2) / lens.fx
            y = (m[0, 1] * e0 + m[1, 1] * e1 + m[2, 1] * e2) / lens.fy
            z = m[0, 2] * e0 + m[1, 2] * e1 + m[2, 2] * e2
            rays[i, 0, j] = -(e0 * a + e1 * b + e2 * c)
            rays[i, 1, j] = z - x * lens.cx - y * lens.cy
            rays[i, 2, j], rays[i, 3, j] = x, y
    return near, rects, rays


@kernel
def _tiles(order, near, rects, centre, axes, half, lens):
    """CSR table of parts by tile, in the given order."""
    cols, rows = (lens.width + TILE - 1) // TILE, (lens.height + TILE - 1) // TILE
    count = np.zeros(cols * rows + 1, np.int32)
    start = count
    part = np.empty(0, np.int32)
    fill = count
    for attempt in range(2):
        for i in order:
            if near[i] == np.inf:
                break
            many = (rects[i, 1] - rects[i, 0] + 1) * (rects[i, 3] - rects[i, 2] + 1) > 6
            for row in range(rects[i, 2], rects[i, 3] + 1):
                for col in range(rects[i, 0], rects[i, 1] + 1):
                    if many and _outside(centre[i], axes[i], half[i], lens, col, row):
                        continue
                    tile = row * cols + col
                    if attempt == 0:
                        count[tile + 1] += 1
                    else:
                        part[fill[tile]] = i
                        fill[tile] += 1
        if attempt == 0:
            start = np.cumsum(count).astype(np.int32)
            fill = start[:-1].copy()
            part = np.empty(start[-1], np.int32)
    return start, part


@leaf
def _outside(centre, axes, half, lens, col, row):
    """Whether a part's box lies wholly beyond one side of a tile's pyramid."""
    m = lens.axes
    left, right = (col * TILE - 1.0 - lens.cx) / lens.fx, (col * TILE + TILE - lens.cx) / lens.fx
    top, bottom = (row * TILE - 1.0 - lens.cy) / lens.fy, (row * TILE + TILE - lens.cy) / lens.fy
    for side in range(4):
        if side == 0:
            u, v, w = -1.0, 0.0, left
        elif side == 1:
            u, v, w = 1.0, 0.0, -right
        elif side == 2:
            u, v, w = 0.0, -1.0, top
        else:
            u, v, w = 0.0, 1.0, -bottom
        n0 = m[0, 0] * u + m[0, 1] * v + m[0, 2] * w
        n1 = m[1, 0] * u + m[1, 1] * v + m[1, 2] * w
        n2 = m[2, 0] * u + m[2, 1] * v + m[2, 2] * w
        away = (
            n0 * (centre[0] - lens.place[0])
            + n1 * (centre[1] - lens.place[1])
            + n2 * (centre[2] - lens.place[2])
        )
        for k in range(3):
            away -= abs(n0 * axes[0, k] + n1 * axes[1, k] + n2 * axes[2, k]) * half[k]
        if away > 0.0:
            return True
    return False


@leaf
def part_hit(p, rays, i, u, v, low):
    """Depth at which the ray through pixel (u, v) meets part i."""
    r = rays[i]
    return hit(
        p.kind[i],
        r[0, 0],
        r[0, 1],
        r[0, 2],
        r[1, 0] + u * r[2, 0] + v * r[3, 0],
        r[1, 1] + u * r[2, 1] + v * r[3, 1],
        r[1, 2] + u * r[2, 2] + v * r[3, 2],
        p.half[i, 0],
        p.half[i, 1],
        p.half[i, 2],
        p.shape[i, 0],
        p.shape[i, 1],
        p.shape[i, 2],
        p.open[i, 0],
        p.open[i, 1],
        p.seed[i],
        low,
    )


@leaf
def nearest_part(p, bins, tile, u, v, limit):
    """Row and depth of the first part along a ray, `NOTHING` and ``limit`` if there is none before that."""
    found, best = NOTHING, limit
    for j in range(bins.start[tile], bins.start[tile + 1]):
        i = bins.part[j]
        if bins.near[i] >= best:
            break
        t = part_hit(p, bins.rays, i, u, v, NEAR)
        if t < best:
            found, best = i, t
    return found, best


def first_along(
    prims: Prims, bins: Bins, ground: Ground, lens: Lens, us: FloatArray, vs: FloatArray, limits: FloatArray
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Depth (N,) and row (N,) of the first thing along rays through given places of the picture.

    ``limits`` (N,): nothing beyond this depth is looked for; rows are parts, `GROUND` or `NOTHING`.
    """
    depth, row = np.full(len(us), np.inf), np.full(len(us), NOTHING, np.int32)
    _first_along(prims, bins, ground, lens, us, vs, limits, depth, row)
    return depth, row


@leaf
def _first_along(p, bins, g, lens, us, vs, limits, depth, row):
    cols = (lens.width + TILE - 1) // TILE
    m = lens.axes
    for k in range(len(us)):
        u, v = us[k], vs[k]
        tile = (int(v + 0.5) // TILE) * cols + int(u + 0.5) // TILE
        row[k], best = nearest_part(p, bins, tile, u, v, limits[k])
        a, b = (u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy
        dx = m[0, 0] * a + m[0, 1] * b + m[0, 2]
        dy = m[1, 0] * a + m[1, 1] * b + m[1, 2]
        dz = m[2, 0] * a + m[2, 1] * b + m[2, 2]
        t = ground_hit(g, HEIGHT, lens.place[0], lens.place[1], lens.place[2], dx, dy, dz, best, np.int64(2))[
            0
        ]
        if t < best:
            best = t
            row[k] = GROUND
        if row[k] != NOTHING:
            depth[k] = best


@leaf
def trace_tile(p, bins, lens, tile, x0, y0, x1, y1, best, row):
    """Nearest part of every pixel of a tile."""
    best[:] = FAR
    row[:] = NOTHING
    behind = FAR
    since = 0
    for j in range(bins.start[tile], bins.start[tile + 1]):
        i = bins.part[j]
        near = bins.near[i]
        if near >= behind:
            break
        covered = False
        for y in range(y0, y1):
            for x in range(x0, x1):
                if near < best[y - y0, x - x0]:
                    t = part_hit(p, bins.rays, i, float(x), float(y), NEAR)
                    if t < best[y - y0, x - x0]:
                        best[y - y0, x - x0] = t
                        row[y - y0, x - x0] = i
                        covered = True
        since += 1
        if covered and since > 1:
            since = 0
            behind = 0.0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    behind = max(behind, best[y - y0, x - x0])
