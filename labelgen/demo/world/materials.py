"""Procedural surfaces: the colour of a material at a point, and how strongly it reflects the LiDAR's beam.

Noise is Perlin-style value noise on hashed lattices, faded out where a pixel is wider than its cells.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

from enum import IntEnum

import numpy as np

from labelgen.demo.world.hits import hash01
from labelgen.demo.world.jit import leaf


class Material(IntEnum):
    """Surfaces of parts; ``tex`` holds up to two parameters in metres."""

    PLAIN = 0
    PAINT = 1  #: car body: seams, sill, lamps at both ends
    GLASS = 2
    TYRE = 3
    BRICK = 4
    FACADE = 5  #: wall with a grid of windows; tex = (bay width, storey height)
    CURTAIN = 6  #: glass front with mullions; tex = (bay width, storey height)
    TILES = 7
    LEAVES = 8
    BARK = 9
    CLOTH = 10  #: tex[0] = 0 plain, 1 stripes, 2 chequered, 3 two halves
    SKIN = 11
    BANDS = 12  #: level bands of two colours; tex[0] = pitch
    DIAGONAL = 13  #: slanted bands; tex[0] = pitch
    WOOD = 14
    RIBBED = 15  #: corrugated sheet; tex[0] = pitch
    CONCRETE = 16
    SIGN = 17
    LIVERY = 18  #: side of a lorry: second colour as a stripe and lettering
    BUS = 19  #: row of windows and a stripe of the second colour
    METAL = 20


PLAIN, PAINT, GLASS, TYRE, BRICK, FACADE, CURTAIN, TILES, LEAVES, BARK, CLOTH = range(11)
SKIN, BANDS, DIAGONAL, WOOD, RIBBED, CONCRETE, SIGN, LIVERY, BUS, METAL = range(11, 21)

#: Share of the beam sent back at normal incidence, by material.
REFLECTIVITY = np.array(
    [
        0.35,
        0.45,
        0.10,
        0.06,
        0.40,
        0.35,
        0.14,
        0.30,
        0.45,
        0.30,
        0.35,
        0.45,
        0.70,
        0.70,
        0.40,
        0.45,
        0.40,
        0.90,
        0.45,
        0.40,
        0.35,
    ]
)
GLOSS = np.array(
    [
        0.0,
        0.22,
        0.55,
        0.0,
        0.0,
        0.0,
        0.45,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.05,
        0.0,
        0.05,
        0.12,
        0.15,
        0.15,
    ]
)


@leaf
def noise2(x, y, seed):
    """Smooth value noise in 0..1 with cells of size 1."""
    i, j = np.floor(x), np.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    a, b = hash01(i, j, 0, seed), hash01(i + 1, j, 0, seed)
    c, d = hash01(i, j + 1, 0, seed), hash01(i + 1, j + 1, 0, seed)
    return (a + (b - a) * u) * (1.0 - v) + (c + (d - c) * u) * v


@leaf
def grain(x, y, size, foot, seed):
    """Noise of a cell size around 0, faded where pixels are wider than cells."""
    fade = 1.0 - foot / size
    if fade <= 0.0:
        return 0.0
    return (noise2(x / size, y / size, seed) - 0.5) * min(1.0, 2.0 * fade)


@leaf
def saw(x):
    """Fractional part."""
    return x - np.floor(x)


@leaf
def _window(u, v, bay, storey, foot, seed):
    """(glass, lit) of a facade with one window per bay and storey."""
    i, j = np.floor(u / bay), np.floor(v / storey)
    a, b = u / bay - i, v / storey - j
    if 0.22 < a < 0.78 and 0.3 < b < 0.82:
        if (abs(a - 0.5) * bay < 0.03 or abs(b - 0.5) * storey < 0.03) and foot < 0.08:
            return False, 0.0
        return True, hash01(i, j, 3, seed)
    return False, 0.0


@leaf
def albedo(mat, px, py, pz, nx, ny, nz, hx, hy, hz, c0, c1, tex0, tex1, seed, foot):
    """(r, g, b, gloss) of a part at a point of its surface, all in the part's frame.

    ``c0``, ``c1`` are its two colours (linear), ``foot`` the width of a pixel in metres.
    """
    r, g, b = c0[0], c0[1], c0[2]
    gloss = GLOSS[mat]
    # u runs along the wall, v up it; on level faces both lie in the plane.
    if abs(nz) > 0.8:
        u, v = px, py
    elif abs(nx) > abs(ny):
        u, v = py, pz
    else:
        u, v = px, pz
    shade = 1.0
    second = 0.0
    if mat == PAINT:
        shade += 0.10 * grain(u, v, 0.5, foot, seed)
        low = (pz + hz) / (2.0 * hz)
        if low < 0.16:
            shade *= 0.35
        if abs(nx) > 0.7 and abs(nz) < 0.8:
            edge = abs(py) / hy
            if edge > 0.62 and 0.5 < low < 0.78:
                if px > 0:
                    r, g, b = 0.85, 0.85, 0.8
                else:
                    r, g, b = 0.55, 0.03, 0.03
            elif edge < 0.5 and 0.25 < low < 0.5:
                shade *= 0.3
        elif abs(ny) > 0.7 and foot < 0.05:
            a = px / hx
            if min(abs(a + 0.42), abs(a - 0.02), abs(a - 0.44)) * hx < 0.012:
                shade *= 0.45
            if 0.68 < low < 0.74 and (abs(a + 0.36) < 0.035 or abs(a - 0.08) < 0.035):
                shade *= 0.55
    elif mat == GLASS:
        shade = 1.0 + 0.5 * grain(u, v, 0.7, foot, seed)
    elif mat == TYRE:
        radius = np.sqrt(px * px + py * py) / hx
        if abs(nz) > 0.8 and radius < 0.62:
            r, g, b = c1[0], c1[1], c1[2]
            spoke = saw(np.arctan2(py, px) * 5.0 / (2.0 * np.pi))
            if radius > 0.2 and spoke < 0.35:
                shade = 0.4
    elif mat == BRICK:
        row = np.floor(v / 0.08)
        a, c = saw(u / 0.24 + 0.5 * (row % 2.0)), saw(v / 0.08)
        shade = 1.0 + 0.35 * grain(u, v, 1.7, foot, seed)
        if foot < 0.06:
            fade = 1.0 - foot / 0.06
            shade += 0.5 * fade * (hash01(np.floor(u / 0.24 + 0.5 * (row % 2.0)), row, 1, seed) - 0.5)
            if a < 0.06 or c < 0.14:
                second = 0.8 * fade
    elif mat in (FACADE, CURTAIN):
        shade = 1.0 + 0.18 * grain(u, v, 2.3, foot, seed) + 0.1 * grain(u, v, 0.15, foot, seed + 1)
        if abs(nz) < 0.5:
            h = v + hz
            if mat == FACADE:
                pane, lit = _window(u, h, tex0, tex1, foot, seed)
                if h > 2.0 * hz - 0.35 or (abs(saw(h / tex1) - 0.08) * tex1 < 0.07 and seed % 2 == 0):
                    shade *= 0.75
            else:
                a, c = saw(u / tex0), saw(h / tex1)
                pane = a * tex0 > 0.12 and c * tex1 > 0.16
                lit = hash01(np.floor(u / tex0), np.floor(h / tex1), 3, seed)
            if pane:
                second = 1.0
                shade = 0.45 + 1.1 * lit * lit
                gloss = 0.5
    elif mat == TILES:
        row = np.floor(v / 0.3)
        shade = 1.0 + 0.3 * grain(u, v, 1.1, foot, seed)
        if foot < 0.15:
            shade += (
                0.3
                * (1.0 - foot / 0.15)
                * (saw(v / 0.3) - 0.5 + 0.5 * hash01(np.floor(u / 0.22), row, 0, seed))
            )
    elif mat == LEAVES:
        n = noise2(px / 0.45 + py / 0.7, pz / 0.45 + py / 0.5, seed) - 0.5
        second = min(max(0.5 + 1.6 * n, 0.0), 1.0)
        shade = 1.0 + 1.1 * grain(px + 0.7 * py, pz + 0.6 * py, 0.11, foot, seed + 1)
        shade *= 0.75 + 0.35 * pz / hz
    elif mat == BARK:
        shade = 1.0 + 0.8 * grain(np.arctan2(py, px) * 0.6, pz * 0.25, 0.06, foot, seed)
    elif mat == CLOTH:
        shade = 1.0 + 0.45 * grain(u, v, 0.13, foot, seed)
        if (
            (tex0 == 1.0 and saw(pz / 0.09) < 0.5)
            or (tex0 == 2.0 and (saw(pz / 0.16) < 0.5) != (saw(u / 0.16) < 0.5))
            or (tex0 == 3.0 and pz < 0.1 * hz)
        ):
            second = 1.0
    elif mat == BANDS:
        if saw((pz + hz) / tex0 + 0.2) < 0.45:
            second = 1.0
        shade = 1.0 + 0.25 * grain(u, v, 0.1, foot, seed)
    elif mat == DIAGONAL:
        if saw((u + v) / tex0) < 0.5:
            second = 1.0
        shade = 1.0 + 0.2 * grain(u, v, 0.2, foot, seed)
    elif mat == WOOD:
        plank = np.floor(u / 0.14)
        shade = 0.85 + 0.3 * hash01(plank, 0, 0, seed) + 0.4 * grain(u * 4.0, v * 0.5, 0.1, foot, seed)
        if foot < 0.04 and saw(u / 0.14) < 0.08:
            shade *= 0.4
    elif mat == RIBBED:
        if foot < tex0:
            shade = 1.0 + 0.28 * (1.0 - foot / tex0) * np.sin(u * 2.0 * np.pi / tex0)
        shade *= 1.0 + 0.3 * grain(u, v, 0.9, foot, seed)
    elif mat == CONCRETE:
        shade = 1.0 + 0.35 * grain(u, v, 0.9, foot, seed) + 0.25 * grain(u, v, 0.06, foot, seed + 5)
        if tex0 > 0.0 and foot < 0.05 and (saw(u / tex0) * tex0 < 0.02 or saw((v + hz) / tex0) * tex0 < 0.02):
            shade *= 0.6
    elif mat == SIGN:
        a, c = u / max(hx if abs(ny) > abs(nx) else hy, 1e-3), v / hz
        if (
            abs(a) > 0.88
            or abs(c) > 0.88
            or (
                abs(c) < 0.6 and abs(a) < 0.7 and hash01(np.floor(a * 4.0), np.floor(c * 3.0), 2, seed) < 0.45
            )
        ):
            second = 1.0
    elif mat == LIVERY:
        a, c = px / hx, pz / hz
        shade = 1.0 + 0.12 * grain(u, v, 0.8, foot, seed)
        if abs(nz) < 0.5:
            if -0.75 < c < -0.55:
                second = 1.0
            elif abs(ny) > 0.5 and -0.1 < c < 0.45 and abs(a) < 0.7:
                if hash01(np.floor(a * 9.0), np.floor(c * 5.0), 4, seed) < 0.5:
                    second = 1.0
            elif abs(nx) > 0.5 and (abs(py) < 0.02 or abs(py) > 0.93 * hy):
                shade *= 0.5
    elif mat == BUS:
        c, a = pz / hz, saw(u / 1.5)
        shade = 1.0 + 0.08 * grain(u, v, 0.8, foot, seed)
        if abs(nz) < 0.5:
            if -0.05 < c < 0.62 and a > 0.07:
                r, g, b = 0.03, 0.04, 0.05
                shade = 0.7 + 1.2 * hash01(np.floor(u / 1.5), 0, 0, seed)
                gloss = 0.5
            elif -0.45 < c < -0.22:
                second = 1.0
            elif c < -0.86:
                shade = 0.3
            elif c > 0.68 and abs(nx) > 0.5 and abs(py) < 0.6 * hy:
                r, g, b = 0.02, 0.02, 0.02
                if hash01(np.floor(py / 0.07), np.floor(pz / 0.06), 1, seed) < 0.5:
                    r, g, b = 0.9, 0.55, 0.05
            elif abs(nx) > 0.5 and c < -0.5 and abs(py) > 0.7 * hy:
                r, g, b = (0.9, 0.88, 0.8) if px > 0 else (0.5, 0.03, 0.03)
    else:
        shade = 1.0 + 0.22 * grain(u, v, 0.35, foot, seed)
    if second > 0.0:
        r, g, b = r + (c1[0] - r) * second, g + (c1[1] - g) * second, b + (c1[2] - b) * second
    shade = max(shade, 0.05)
    return r * shade, g * shade, b * shade, gloss
