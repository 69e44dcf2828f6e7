"""The light in a picture: colours of what a camera's rays meet, softened edges, and the finished 8-bit image.

Kernels release the interpreter's lock and know no threads: callers split the rows among threads, the result
does not depend on how.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

import numpy as np

from labelgen.demo.world.camera import FAR, GROUND, NOTHING, TILE, nearest_part, trace_tile
from labelgen.demo.world.categories import SKY
from labelgen.demo.world.hits import hash01, normal
from labelgen.demo.world.jit import leaf
from labelgen.demo.world.light import in_sun, sky
from labelgen.demo.world.materials import albedo
from labelgen.demo.world.paving import ground_albedo
from labelgen.demo.world.surface import CATEGORY, HEIGHT, ground_hit, piece_at

_TURNED = np.array([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]])
# Filmic curve (Narkowicz 2015, "ACES"), then gamma 2.2: grey level by the square root of the light.
_TONE_STEP = 1500.0
_TONE_LAST = 4095
_LIGHT = (np.arange(_TONE_LAST + 1) / _TONE_STEP) ** 2
_CURVE = _LIGHT * (2.51 * _LIGHT + 0.03) / (_LIGHT * (2.43 * _LIGHT + 0.59) + 0.14)
_TONE = (255.0 * np.clip(_CURVE, 0.0, 1.0) ** (1.0 / 2.2)).astype(np.float32)


@leaf
def render_rows(p, bins, g, lens, sun, w, exposure, first, last, best, row, rgb, category, object_id, depth):
    """Fill rows of tiles first..last of the picture: colour (gamma-coded 0..255), truth and depth.

    ``best`` (TILE, TILE) float64 and ``row`` (TILE, TILE) int32 are work space.
    """
    cols = (lens.width + TILE - 1) // TILE
    guess = np.int64(0)
    for tile_row in range(first, last):
        for tile_col in range(cols):
            x0, y0 = tile_col * TILE, tile_row * TILE
            x1, y1 = min(x0 + TILE, lens.width), min(y0 + TILE, lens.height)
            trace_tile(p, bins, lens, tile_row * cols + tile_col, x0, y0, x1, y1, best, row)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    # One integer type for all calls, so that one version of `_seen` is compiled.
                    i, t = np.int64(row[y - y0, x - x0]), best[y - y0, x - x0]
                    colour, met, deep, kind, wx, wy = _seen(
                        p, bins, g, lens, sun, w, float(x), float(y), i, t, guess
                    )
                    guess = kind
                    depth[y, x] = deep
                    if met == NOTHING:
                        category[y, x], object_id[y, x] = SKY, 0
                    elif met == GROUND:
                        category[y, x], object_id[y, x] = CATEGORY[kind], piece_at(g, kind, wx, wy)
                    else:
                        category[y, x], object_id[y, x] = p.category[met], p.object_id[met]
                    for c in range(3):
                        rgb[y, x, c] = _tone(colour[c] * exposure)


@leaf
def soften_rows(p, bins, g, lens, sun, w, exposure, first, last, object_id, rgb):
    """Average five rays in each pixel of rows first..last where two objects meet; truth stays."""
    cols = (lens.width + TILE - 1) // TILE
    guess = np.int64(0)
    for y in range(first, last):
        for x in range(lens.width):
            mine = object_id[y, x]
            if (
                object_id[max(y - 1, 0), x] == mine
                and object_id[min(y + 1, lens.height - 1), x] == mine
                and object_id[y, max(x - 1, 0)] == mine
                and object_id[y, min(x + 1, lens.width - 1)] == mine
            ):
                continue
            tile = (y // TILE) * cols + x // TILE
            red, green, blue = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            for k in range(4):
                # A square turned by 27 degrees: each ray has a row and a column of its own.
                u, v = x + _TURNED[k, 0], y + _TURNED[k, 1]
                i, t = nearest_part(p, bins, tile, u, v, FAR)
                colour, _, _, kind, _, _ = _seen(p, bins, g, lens, sun, w, u, v, np.int64(i), t, guess)
                guess = kind
                red += _tone(colour[0] * exposure)
                green += _tone(colour[1] * exposure)
                blue += _tone(colour[2] * exposure)
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = red * 0.2, green * 0.2, blue * 0.2


@leaf
def _seen(p, bins, g, lens, sun, w, u, v, i, t, guess):
    """Colour of what a ray meets, given the nearest part i at depth t along it.

    Returns:
        ((r, g, b), row, depth, surface, x, y): linear light; the part, `GROUND` or `NOTHING` that was met;
        its depth, infinite for nothing; the surface of the ground if that was met, else ``guess``; the place.
    """
    m, place = lens.axes, lens.place
    a, b = (u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy
    dx = m[0, 0] * a + m[0, 1] * b + m[0, 2]
    dy = m[1, 0] * a + m[1, 1] * b + m[1, 2]
    dz = m[2, 0] * a + m[2, 1] * b + m[2, 2]
    far, kind, face, seg, d, beyond, other = ground_hit(
        g, HEIGHT, place[0], place[1], place[2], dx, dy, dz, t, guess
    )
    met, surface = i, guess
    if far < t:
        met, t, surface = np.int64(GROUND), far, np.int64(kind)
    length = np.sqrt(a * a + b * b + 1.0)
    dx, dy, dz = dx / length, dy / length, dz / length
    if met == NOTHING:
        return sky(w, dx, dy, dz, True), met, np.inf, surface, 0.0, 0.0
    away = t * length
    wx, wy, wz = place[0] + away * dx, place[1] + away * dy, place[2] + away * dz
    if met == GROUND:
        foot = away / lens.fx / max(-dz, 0.03) ** 0.7
        paint = ground_albedo(g, w.ground, kind, face, wx, wy, seg, d, beyond, other, foot, w.ground_seed)
        facing = (-0.6 * dx, -0.6 * dy, 0.5) if face else (0.0, 0.0, 1.0)
        shade = 1.0
    else:
        paint, facing = _part_paint(p, bins.rays[i], i, u, v, t, away / lens.fx)
        # Little of the sky reaches what is close to the ground.
        shade = 0.55 + 0.45 * min(1.0, max(wz, 0.0) / 0.9)
    r, gr, b = _lit(p, sun, w, paint, facing, shade, wx, wy, wz, dx, dy, dz)
    clear = np.exp(-away / w.haze)
    colour = (
        r * clear + w.horizon[0] * (1.0 - clear),
        gr * clear + w.horizon[1] * (1.0 - clear),
        b * clear + w.horizon[2] * (1.0 - clear),
    )
    return colour, met, t, surface, wx, wy


@leaf
def _tone(light):
    """Grey level 0..255 of linear light."""
    return _TONE[min(int(np.sqrt(light) * _TONE_STEP), _TONE_LAST)]


@leaf
def _part_paint(p, ray, i, x, y, t, foot):
    """((r, g, b, gloss), (normal)) of part i where the ray through pixel (x, y) meets it at depth t."""
    px = ray[0, 0] + t * (ray[1, 0] + x * ray[2, 0] + y * ray[3, 0])
    py = ray[0, 1] + t * (ray[1, 1] + x * ray[2, 1] + y * ray[3, 1])
    pz = ray[0, 2] + t * (ray[1, 2] + x * ray[2, 2] + y * ray[3, 2])
    hx, hy, hz = p.half[i, 0], p.half[i, 1], p.half[i, 2]
    lx, ly, lz = normal(p.kind[i], px, py, pz, hx, hy, hz, p.shape[i, 0], p.shape[i, 1], p.shape[i, 2])
    paint = albedo(
        p.material[i],
        px,
        py,
        pz,
        lx,
        ly,
        lz,
        hx,
        hy,
        hz,
        p.colour[i, 0],
        p.colour[i, 1],
        p.tex[i, 0],
        p.tex[i, 1],
        p.seed[i],
        foot,
    )
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

    ``raw`` (H, W, 3) float32 comes from `render_rows`, ``out`` (H, W, 3) is uint8; ``blur`` is the weight of
    the 3x3 binomial filter in 0..1, ``grain`` the standard deviation of the noise in grey levels.
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
