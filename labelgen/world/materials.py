"""Procedural surfaces: the colour of a material at a point, and how strongly it reflects the LiDAR's beam.

Noise is Perlin-style value noise on hashed lattices, faded out where a pixel is wider than its cells.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from labelgen.world.jit import leaf
from labelgen.world import surface as sf
from labelgen.world.hits import hash01


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

#: Share of the beam sent back at normal incidence, by material; and by surface of the ground.
REFLECTIVITY = np.array(
    [0.35, 0.45, 0.10, 0.06, 0.40, 0.35, 0.14, 0.30, 0.45, 0.30, 0.35, 0.45, 0.70, 0.70, 0.40, 0.45, 0.40, 0.90, 0.45,
     0.40, 0.35]
)  # fmt: skip
GROUND_REFLECTIVITY = np.array([0.12, 0.13, 0.25, 0.28, 0.40, 0.25, 0.28, 0.20, 0.03, 0.12])
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
def _grain(x, y, size, foot, seed):
    """Noise of a cell size around 0, faded where pixels are wider than cells."""
    fade = 1.0 - foot / size
    if fade <= 0.0:
        return 0.0
    return (noise2(x / size, y / size, seed) - 0.5) * min(1.0, 2.0 * fade)


@leaf
def _saw(x):
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
        shade += 0.10 * _grain(u, v, 0.5, foot, seed)
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
            if min(abs(a + 0.42), min(abs(a - 0.02), abs(a - 0.44))) * hx < 0.012:
                shade *= 0.45
            if 0.68 < low < 0.74 and (abs(a + 0.36) < 0.035 or abs(a - 0.08) < 0.035):
                shade *= 0.55
    elif mat == GLASS:
        shade = 1.0 + 0.5 * _grain(u, v, 0.7, foot, seed)
    elif mat == TYRE:
        radius = np.sqrt(px * px + py * py) / hx
        if abs(nz) > 0.8 and radius < 0.62:
            r, g, b = c1[0], c1[1], c1[2]
            spoke = _saw(np.arctan2(py, px) * 5.0 / (2.0 * np.pi))
            if radius > 0.2 and spoke < 0.35:
                shade = 0.4
    elif mat == BRICK:
        row = np.floor(v / 0.08)
        a, c = _saw(u / 0.24 + 0.5 * (row % 2.0)), _saw(v / 0.08)
        shade = 1.0 + 0.35 * _grain(u, v, 1.7, foot, seed)
        if foot < 0.06:
            fade = 1.0 - foot / 0.06
            shade += 0.5 * fade * (hash01(np.floor(u / 0.24 + 0.5 * (row % 2.0)), row, 1, seed) - 0.5)
            if a < 0.06 or c < 0.14:
                second = 0.8 * fade
    elif mat in (FACADE, CURTAIN):
        shade = 1.0 + 0.18 * _grain(u, v, 2.3, foot, seed) + 0.1 * _grain(u, v, 0.15, foot, seed + 1)
        if abs(nz) < 0.5:
            h = v + hz
            if mat == FACADE:
                pane, lit = _window(u, h, tex0, tex1, foot, seed)
                if h > 2.0 * hz - 0.35 or (abs(_saw(h / tex1) - 0.08) * tex1 < 0.07 and seed % 2 == 0):
                    shade *= 0.75
            else:
                a, c = _saw(u / tex0), _saw(h / tex1)
                pane = a * tex0 > 0.12 and c * tex1 > 0.16
                lit = hash01(np.floor(u / tex0), np.floor(h / tex1), 3, seed)
            if pane:
                second = 1.0
                shade = 0.45 + 1.1 * lit * lit
                gloss = 0.5
    elif mat == TILES:
        row = np.floor(v / 0.3)
        shade = 1.0 + 0.3 * _grain(u, v, 1.1, foot, seed)
        if foot < 0.15:
            shade += (
                0.3
                * (1.0 - foot / 0.15)
                * (_saw(v / 0.3) - 0.5 + 0.5 * hash01(np.floor(u / 0.22), row, 0, seed))
            )
    elif mat == LEAVES:
        n = noise2(px / 0.45 + py / 0.7, pz / 0.45 + py / 0.5, seed) - 0.5
        second = min(max(0.5 + 1.6 * n, 0.0), 1.0)
        shade = 1.0 + 1.1 * _grain(px + 0.7 * py, pz + 0.6 * py, 0.11, foot, seed + 1)
        shade *= 0.75 + 0.35 * pz / hz
    elif mat == BARK:
        shade = 1.0 + 0.8 * _grain(np.arctan2(py, px) * 0.6, pz * 0.25, 0.06, foot, seed)
    elif mat == CLOTH:
        shade = 1.0 + 0.45 * _grain(u, v, 0.13, foot, seed)
        if (
            (tex0 == 1.0 and _saw(pz / 0.09) < 0.5)
            or (tex0 == 2.0 and (_saw(pz / 0.16) < 0.5) != (_saw(u / 0.16) < 0.5))
            or (tex0 == 3.0 and pz < 0.1 * hz)
        ):
            second = 1.0
    elif mat == BANDS:
        if _saw((pz + hz) / tex0 + 0.2) < 0.45:
            second = 1.0
        shade = 1.0 + 0.25 * _grain(u, v, 0.1, foot, seed)
    elif mat == DIAGONAL:
        if _saw((u + v) / tex0) < 0.5:
            second = 1.0
        shade = 1.0 + 0.2 * _grain(u, v, 0.2, foot, seed)
    elif mat == WOOD:
        plank = np.floor(u / 0.14)
        shade = 0.85 + 0.3 * hash01(plank, 0, 0, seed) + 0.4 * _grain(u * 4.0, v * 0.5, 0.1, foot, seed)
        if foot < 0.04 and _saw(u / 0.14) < 0.08:
            shade *= 0.4
    elif mat == RIBBED:
        if foot < tex0:
            shade = 1.0 + 0.28 * (1.0 - foot / tex0) * np.sin(u * 2.0 * np.pi / tex0)
        shade *= 1.0 + 0.3 * _grain(u, v, 0.9, foot, seed)
    elif mat == CONCRETE:
        shade = 1.0 + 0.35 * _grain(u, v, 0.9, foot, seed) + 0.25 * _grain(u, v, 0.06, foot, seed + 5)
        if (
            tex0 > 0.0
            and foot < 0.05
            and (_saw(u / tex0) * tex0 < 0.02 or _saw((v + hz) / tex0) * tex0 < 0.02)
        ):
            shade *= 0.6
    elif mat == SIGN:
        a, c = u / max(hx if abs(ny) > abs(nx) else hy, 1e-3), v / hz
        if abs(a) > 0.88 or abs(c) > 0.88:
            second = 1.0
        elif abs(c) < 0.6 and abs(a) < 0.7:
            if hash01(np.floor(a * 4.0), np.floor(c * 3.0), 2, seed) < 0.45:
                second = 1.0
    elif mat == LIVERY:
        a, c = px / hx, pz / hz
        shade = 1.0 + 0.12 * _grain(u, v, 0.8, foot, seed)
        if abs(nz) < 0.5:
            if -0.75 < c < -0.55:
                second = 1.0
            elif abs(ny) > 0.5 and -0.1 < c < 0.45 and abs(a) < 0.7:
                if hash01(np.floor(a * 9.0), np.floor(c * 5.0), 4, seed) < 0.5:
                    second = 1.0
            elif abs(nx) > 0.5 and (abs(py) < 0.02 or abs(py) > 0.93 * hy):
                shade *= 0.5
    elif mat == BUS:
        c, a = pz / hz, _saw(u / 1.5)
        shade = 1.0 + 0.08 * _grain(u, v, 0.8, foot, seed)
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
                r, g, b = (0.9, 0.55, 0.05) if hash01(np.floor(py / 0.07), np.floor(pz / 0.06), 1, seed) < 0.5 else (
                    0.02, 0.02, 0.02)  # fmt: skip
            elif abs(nx) > 0.5 and c < -0.5 and abs(py) > 0.7 * hy:
                r, g, b = (0.9, 0.88, 0.8) if px > 0 else (0.5, 0.03, 0.03)
    else:
        shade = 1.0 + 0.22 * _grain(u, v, 0.35, foot, seed)
    if second > 0.0:
        r, g, b = r + (c1[0] - r) * second, g + (c1[1] - g) * second, b + (c1[2] - b) * second
    shade = max(shade, 0.05)
    return r * shade, g * shade, b * shade, gloss


@leaf
def ground_albedo(g, colours, kind, face, x, y, i, d, beyond, other, foot, seed):
    """(r, g, b, gloss) of the ground at a place.

    Args:
        g: the ground; colours: (10, 3) base colour of each surface, linear.
        kind, face: surface, and whether the point is on a kerb's face.
        x, y: metres; i, d, beyond, other: as `surface` gives them.
        foot: width of a pixel on the ground; seed: of the noise.
    """
    s, road = x, -1
    if i >= 0:
        s, road = sf.along(g, i, x, y), g.seg_road[i]
    else:
        d = y
    c = colours[kind]
    r, gg, b = c[0], c[1], c[2]
    gloss = 0.0
    shade = 1.0
    if kind in (sf.ROAD, sf.DRIVEWAY, sf.PARKING):
        shade += 0.30 * _grain(x, y, 6.0, foot, seed) + 0.25 * _grain(x, y, 0.9, foot, seed + 1)
        shade += 0.30 * _grain(x, y, 0.035, foot, seed + 2)
        cell = hash01(np.floor(x / 3.1), np.floor(y / 4.3), 7, seed)
        if cell < 0.08:
            shade *= 0.72
        white = 0.0
        wear = 0.55 + 0.45 * noise2(x / 0.4, y / 0.4, seed + 3)
        if kind == sf.ROAD and road >= 0:
            half, median, lanes = g.road[road, 0], g.road[road, 1], g.road[road, 3]
            lane, park = g.road[road, 4], g.road[road, 5]
            side = abs(d)
            if 1.2 < other < 4.4:
                if (other < 4.0 and _saw(d / 1.0) < 0.5) or other > 4.1:
                    white = 1.0
            elif other > 5.0:
                if median == 0.0 and abs(side - 0.12) < 0.06:
                    white = -1.0
                edge = median + lanes * lane
                if abs(side - edge) < 0.06 and park > 0.0 and _saw(s / 6.0) < 0.96:
                    white = 1.0
                if park == 0.0 and (abs(side - half + 0.35) < 0.05 or abs(side - half + 0.55) < 0.05):
                    white = -1.0
                for k in range(1, int(lanes)):
                    if abs(side - median - k * lane) < 0.06 and _saw(s / 6.0) < 0.45:
                        white = 1.0
                in_lane = _saw((side - median) / lane) - 0.5
                along = _saw(s / 44.0) * 44.0 - 20.0
                if side < edge and 0.0 < along < 3.6:
                    if (abs(in_lane) * lane < 0.09 and along < 2.4) or (
                        along >= 2.4 and abs(in_lane) * lane < 0.4 * (3.6 - along) / 1.2
                    ):
                        white = 1.0
        elif kind == sf.PARKING and road >= 0:
            if _saw(s / 2.7) * 2.7 < 0.11 and _saw((beyond - 4.0) / 11.5) < 0.44:
                white = 1.0
        if white > 0.0:
            r, gg, b, shade = 0.62 * wear, 0.62 * wear, 0.60 * wear, 1.0
        elif white < 0.0:
            r, gg, b, shade = 0.62 * wear, 0.42 * wear, 0.08 * wear, 1.0
    elif kind in (sf.SIDEWALK, sf.PLAZA, sf.ISLAND):
        size = 0.6 if kind == sf.SIDEWALK else (1.2 if kind == sf.PLAZA else 0.25)
        i, j = np.floor(s / size), np.floor(d / size)
        shade += 0.3 * _grain(x, y, 2.5, foot, seed) + 0.2 * _grain(x, y, 0.05, foot, seed + 1)
        if foot < size:
            fade = 1.0 - foot / size
            shade += 0.22 * fade * (hash01(i, j, kind, seed) - 0.5)
            if foot < 0.06 and (_saw(s / size) * size < 0.015 or _saw(d / size) * size < 0.015):
                shade *= 0.55
        if kind == sf.SIDEWALK and beyond < 0.28:
            r, gg, b = 0.42, 0.42, 0.40
            if seed % 3 == 0 and _saw(s / 2.0) < 0.5:
                r, gg, b = 0.06, 0.06, 0.06
    elif kind == sf.GRASS:
        shade += 0.55 * _grain(x, y, 3.5, foot, seed) + 0.6 * _grain(x, y, 0.07, foot, seed + 1)
        dry = noise2(x / 5.0, y / 5.0, seed + 4)
        if dry > 0.66:
            mix = min(1.0, (dry - 0.66) * 5.0)
            r, gg, b = r + (0.30 - r) * mix, gg + (0.22 - gg) * mix, b + (0.12 - b) * mix
    elif kind == sf.DIRT:
        shade += 0.5 * _grain(x, y, 2.0, foot, seed) + 0.5 * _grain(x, y, 0.12, foot, seed + 1)
    elif kind == sf.RAILS:
        off = abs(abs(d) - 1.6)
        rail = abs(off - 0.72)
        shade += 0.7 * _grain(x, y, 0.08, foot, seed)
        if rail < 0.05:
            r, gg, b, shade, gloss = 0.45, 0.43, 0.42, 1.0, 0.3
        elif off < 1.2 and _saw(s / 0.65) < 0.38:
            r, gg, b, shade = 0.20, 0.16, 0.12, 1.0
    else:
        shade += 0.4 * _grain(x, y * 2.0, 0.6, foot, seed) + 0.3 * _grain(x * 2.0, y, 2.2, foot, seed + 1)
        gloss = 0.45
    if face:
        shade *= 0.8
    shade = max(shade, 0.1)
    return r * shade, gg * shade, b * shade, gloss
