"""Camera pictures with exact truth: parts are sorted into tiles of the picture and rays test a tile's parts.

Distances along a ray are depths (metres along the camera's z axis). Kernels release the interpreter's lock
and know no threads: callers split the rows of tiles among threads, the result does not depend on how.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.world.jit import kernel, leaf
from labelgen.world.categories import SKY
from labelgen.world.hits import hash01, hit, normal
from labelgen.world.light import in_sun, sky
from labelgen.world.materials import albedo, ground_albedo
from labelgen.world.primitives import Prims
from labelgen.world.surface import CATEGORY, HEIGHT, Ground, ground_hit, piece_at

FloatArray = NDArray[np.float64]
TILE = 16
NEAR, FAR = 0.05, 900.0
#: Rows of `Bins.part` stand for parts; these two for the ground and for nothing.
GROUND, NOTHING = -1, -2

# Filmic curve (Narkowicz 2015, "ACES"), then gamma 2.2: grey level by the square root of the light.
_TONE_STEP = 1500.0
_TONE_LAST = 4095
_LIGHT = (np.arange(_TONE_LAST + 1) / _TONE_STEP) ** 2
_CURVE = _LIGHT * (2.51 * _LIGHT + 0.03) / (_LIGHT * (2.43 * _LIGHT + 0.59) + 0.14)
_TONE = (255.0 * np.clip(_CURVE, 0.0, 1.0) ** (1.0 / 2.2)).astype(np.float32)


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
        best = limits[k]
        for j in range(bins.start[tile], bins.start[tile + 1]):
            i = bins.part[j]
            if bins.near[i] >= best:
                break
            t = part_hit(p, bins.rays, i, u, v, NEAR)
            if t < best:
                best = t
                row[k] = i
        a, b = (u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy
        dx = m[0, 0] * a + m[0, 1] * b + m[0, 2]
        dy = m[1, 0] * a + m[1, 1] * b + m[1, 2]
        dz = m[2, 0] * a + m[2, 1] * b + m[2, 2]
        t = ground_hit(g, HEIGHT, lens.place[0], lens.place[1], lens.place[2], dx, dy, dz, best, 2)[0]
        if t < best:
            best = t
            row[k] = GROUND
        if row[k] != NOTHING:
            depth[k] = best


@leaf
def render_rows(p, bins, g, lens, sun, w, exposure, first, last, best, row, rgb, category, object_id, depth):
    """Fill rows of tiles first..last of the picture: colour (gamma-coded 0..255), truth and depth.

    ``best`` (TILE, TILE) float64 and ``row`` (TILE, TILE) int32 are work space.
    """
    cols = (lens.width + TILE - 1) // TILE
    m, place = lens.axes, lens.place
    guess = 0
    for tile_row in range(first, last):
        for tile_col in range(cols):
            x0, y0 = tile_col * TILE, tile_row * TILE
            x1, y1 = min(x0 + TILE, lens.width), min(y0 + TILE, lens.height)
            _trace_tile(p, bins, lens, tile_row * cols + tile_col, x0, y0, x1, y1, best, row)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    a, b = (x - lens.cx) / lens.fx, (y - lens.cy) / lens.fy
                    dx = m[0, 0] * a + m[0, 1] * b + m[0, 2]
                    dy = m[1, 0] * a + m[1, 1] * b + m[1, 2]
                    dz = m[2, 0] * a + m[2, 1] * b + m[2, 2]
                    i, t = row[y - y0, x - x0], best[y - y0, x - x0]
                    far, kind, face, seg, d, beyond, other = ground_hit(
                        g, HEIGHT, place[0], place[1], place[2], dx, dy, dz, t, guess
                    )
                    if far < t:
                        i, t, guess = GROUND, far, kind
                    length = np.sqrt(a * a + b * b + 1.0)
                    dx, dy, dz, t = dx / length, dy / length, dz / length, t * length
                    if i == NOTHING:
                        colour = sky(w, dx, dy, dz, True)
                        category[y, x], object_id[y, x], depth[y, x] = SKY, 0, np.inf
                    else:
                        wx, wy, wz = place[0] + t * dx, place[1] + t * dy, place[2] + t * dz
                        depth[y, x] = t / length
                        if i == GROUND:
                            category[y, x], object_id[y, x] = CATEGORY[kind], piece_at(g, kind, wx, wy)
                            foot = t / lens.fx / max(-dz, 0.03) ** 0.7
                            paint = ground_albedo(
                                g, w.ground, kind, face, wx, wy, seg, d, beyond, other, foot, w.ground_seed
                            )
                            facing = (-0.6 * dx, -0.6 * dy, 0.5) if face else (0.0, 0.0, 1.0)
                            shade = 1.0
                        else:
                            category[y, x], object_id[y, x] = p.category[i], p.object_id[i]
                            paint, facing = _part_paint(p, bins.rays[i], i, x, y, depth[y, x], t / lens.fx)
                            # Little of the sky reaches what is close to the ground.
                            shade = 0.55 + 0.45 * min(1.0, max(wz, 0.0) / 0.9)
                        colour = _lit(p, sun, w, paint, facing, shade, wx, wy, wz, dx, dy, dz)
                        clear = np.exp(-t / w.haze)
                        colour = (
                            colour[0] * clear + w.horizon[0] * (1.0 - clear),
                            colour[1] * clear + w.horizon[1] * (1.0 - clear),
                            colour[2] * clear + w.horizon[2] * (1.0 - clear),
                        )
                    for c in range(3):
                        rgb[y, x, c] = _TONE[min(int(np.sqrt(colour[c] * exposure) * _TONE_STEP), _TONE_LAST)]


@leaf
def _trace_tile(p, bins, lens, tile, x0, y0, x1, y1, best, row):
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


@leaf
def _part_paint(p, ray, i, x, y, t, foot):
    """((r, g, b, gloss), (normal)) of part i where the ray through pixel (x, y) meets it at depth t."""
    px = ray[0, 0] + t * (ray[1, 0] + x * ray[2, 0] + y * ray[3, 0])
    py = ray[0, 1] + t * (ray[1, 1] + x * ray[2, 1] + y * ray[3, 1])
    pz = ray[0, 2] + t * (ray[1, 2] + x * ray[2, 2] + y * ray[3, 2])
    hx, hy, hz = p.half[i, 0], p.half[i, 1], p.half[i, 2]
    lx, ly, lz = normal(p.kind[i], px, py, pz, hx, hy, hz, p.shape[i, 0], p.shape[i, 1], p.shape[i, 2])
    paint = albedo(
        p.material[i], px, py, pz, lx, ly, lz, hx, hy, hz, p.colour[i, 0], p.colour[i, 1], p.tex[i, 0], p.tex[i, 1],
        p.seed[i], foot,
    )  # fmt: skip
    m = p.axes[i]
    nx = m[0, 0] * lx + m[0, 1] * ly + m[0, 2] * lz
    ny = m[1, 0] * lx + m[1, 1] * ly + m[1, 2] * lz
    nz = m[2, 0] * lx + m[2, 1] * ly + m[2, 2] * lz
    if p.open[i, 0] > 0.0:
        # Leaves face all ways.
        jitter = hash01(np.floor(px * 9.0), np.floor(py * 9.0), np.floor(pz * 9.0), p.seed[i]) - 0.5
        nx, ny, nz = nx + 0.9 * jitter, ny - 0.9 * jitter, nz + 0.35
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / length, ny / length, nz / length
    return paint, (nx, ny, nz)


@leaf
def _lit(p, sun, w, paint, facing, shade, wx, wy, wz, dx, dy, dz):
    """Linear colour of a point in sun and sky, seen along the unit direction (dx, dy, dz)."""
    nx, ny, nz = facing
    cosine = nx * dx + ny * dy + nz * dz
    if cosine > 0.0:
        nx, ny, nz, cosine = -nx, -ny, -nz, -cosine
    lambert = max(nx * w.sun[0] + ny * w.sun[1] + nz * w.sun[2], 0.0)
    if lambert > 0.0 and not in_sun(p, sun, wx + 0.01 * nx, wy + 0.01 * ny, wz + 0.01 * nz):
        lambert = 0.0
    above = (0.62 + 0.38 * nz) * shade * 0.9
    r = paint[0] * (lambert * w.sun_colour[0] + above * w.zenith[0] + 0.08 * w.horizon[0])
    g = paint[1] * (lambert * w.sun_colour[1] + above * w.zenith[1] + 0.08 * w.horizon[1])
    b = paint[2] * (lambert * w.sun_colour[2] + above * w.zenith[2] + 0.08 * w.horizon[2])
    if paint[3] > 0.0:
        mx, my, mz = dx - 2.0 * cosine * nx, dy - 2.0 * cosine * ny, dz - 2.0 * cosine * nz
        amount = paint[3] * (0.25 + 0.75 * (1.0 + cosine) ** 3)  # Schlick's shape
        if mz > 0.0:
            mirror = sky(w, mx, my, mz, False)
        else:
            mirror = (0.12 * w.horizon[0], 0.12 * w.horizon[1], 0.12 * w.horizon[2])
        r, g, b = r + (mirror[0] - r) * amount, g + (mirror[1] - g) * amount, b + (mirror[2] - b) * amount
    return r, g, b


@leaf
def develop(raw, blur, grain, seed, first, last, out):
    """Rows first..last of the finished picture: lens blur, vignetting, sensor noise, 8 bits.

    Args:
        raw: (H, W, 3) float32 of `render_rows`; blur: weight of the 3x3 binomial filter in 0..1.
        grain: standard deviation of the noise in grey levels; seed: of the noise.
        out: (H, W, 3) uint8.
    """
    height, width, _ = raw.shape
    for y in range(first, last):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            a, b = (x - 0.5 * width) / width, (y - 0.5 * height) / width
            dark = 1.0 - 0.35 * (a * a + b * b)
            bits = np.uint64(hash01(x, y, 0, seed) * 9007199254740992.0)
            for c in range(3):
                edge = raw[up, x, c] + raw[down, x, c] + raw[y, left, c] + raw[y, right, c]
                corner = raw[up, left, c] + raw[up, right, c] + raw[down, left, c] + raw[down, right, c]
                soft = 0.25 * raw[y, x, c] + 0.125 * edge + 0.0625 * corner
                value = raw[y, x, c] + blur * (soft - raw[y, x, c])
                # Sum of two uniform numbers: triangular, close enough to Gaussian.
                noise = float(bits & np.uint64(255)) + float((bits >> np.uint64(8)) & np.uint64(255)) - 255.0
                bits >>= np.uint64(16)
                value = value * dark + noise * grain / 104.0
                out[y, x, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
