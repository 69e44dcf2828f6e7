"""What the ground looks like: asphalt with its markings, slabs, kerb stones, grass, rails, water."""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

import numpy as np

from labelgen.demo.world import surface as sf
from labelgen.demo.world.hits import hash01
from labelgen.demo.world.jit import leaf
from labelgen.demo.world.materials import grain, noise2, saw

#: (10,) share of the LiDAR's light that each surface sends back at normal incidence.
GROUND_REFLECTIVITY = np.array([0.12, 0.13, 0.25, 0.28, 0.40, 0.25, 0.28, 0.20, 0.03, 0.12])
_BARE, _WHITE, _YELLOW = 0, 1, 2
_TRACK, _GAUGE, _SLEEPERS = 1.6, 0.72, 0.65  #: metres: to a track's middle, to its rails, between sleepers


@leaf
def ground_albedo(g, colours, kind, face, x, y, i, d, beyond, other, foot, seed):
    """(r, g, b, gloss) of the ground at a place.

    ``colours`` (10, 3) are the base colours of the surfaces, linear; ``kind`` and ``face`` the surface and
    whether the point is on a kerb's face; ``i``, ``d``, ``beyond``, ``other`` as `surface` gives them;
    ``foot`` the width of a pixel on the ground and ``seed`` that of the noise.
    """
    s, road = x, -1
    if i >= 0:
        s, road = sf.along(g, i, x, y), g.seg_road[i]
    else:
        d = y
    red, green, blue = colours[kind, 0], colours[kind, 1], colours[kind, 2]
    gloss, shade = 0.0, 1.0
    if kind in (sf.ROAD, sf.DRIVEWAY, sf.PARKING):
        mark = _BARE
        if kind == sf.ROAD and road >= 0:
            mark = _marking(g.road[road], s, d, other)
        elif kind == sf.PARKING and saw(s / 2.7) * 2.7 < 0.11 and saw((beyond - 4.0) / 11.5) < 0.44:
            mark = _WHITE
        if mark == _BARE:
            shade += 0.30 * grain(x, y, 6.0, foot, seed) + 0.25 * grain(x, y, 0.9, foot, seed + 1)
            shade += 0.30 * grain(x, y, 0.035, foot, seed + 2)
            if hash01(np.floor(x / 3.1), np.floor(y / 4.3), 7, seed) < 0.08:
                shade *= 0.72  # a patch of newer asphalt
        else:
            wear = 0.55 + 0.45 * noise2(x / 0.4, y / 0.4, seed + 3)
            red = 0.62 * wear
            green, blue = (red, 0.97 * red) if mark == _WHITE else (0.68 * red, 0.13 * red)
    elif kind in (sf.SIDEWALK, sf.PLAZA, sf.ISLAND):
        slab = 0.6 if kind == sf.SIDEWALK else (1.2 if kind == sf.PLAZA else 0.25)
        shade += 0.3 * grain(x, y, 2.5, foot, seed) + 0.2 * grain(x, y, 0.05, foot, seed + 1)
        if foot < slab:
            tone = hash01(np.floor(s / slab), np.floor(d / slab), kind, seed) - 0.5
            shade += 0.22 * (1.0 - foot / slab) * tone
            if foot < 0.06 and (saw(s / slab) * slab < 0.015 or saw(d / slab) * slab < 0.015):
                shade *= 0.55
        if kind == sf.SIDEWALK and beyond < sf.KERB:
            red, green, blue = 0.42, 0.42, 0.40
            if seed % 3 == 0 and saw(s / 2.0) < 0.5:
                red, green, blue = 0.06, 0.06, 0.06
    elif kind == sf.GRASS:
        shade += 0.55 * grain(x, y, 3.5, foot, seed) + 0.6 * grain(x, y, 0.07, foot, seed + 1)
        dry = min(max((noise2(x / 5.0, y / 5.0, seed + 4) - 0.66) * 5.0, 0.0), 1.0)
        red, green, blue = red + (0.30 - red) * dry, green + (0.22 - green) * dry, blue + (0.12 - blue) * dry
    elif kind == sf.DIRT:
        shade += 0.5 * grain(x, y, 2.0, foot, seed) + 0.5 * grain(x, y, 0.12, foot, seed + 1)
    elif kind == sf.RAILS:
        off = abs(abs(d) - _TRACK)
        shade += 0.7 * grain(x, y, 0.08, foot, seed)
        if abs(off - _GAUGE) < 0.05:
            red, green, blue, shade, gloss = 0.45, 0.43, 0.42, 1.0, 0.3
        elif off < 1.2 and saw(s / _SLEEPERS) < 0.38:
            red, green, blue, shade = 0.20, 0.16, 0.12, 1.0
    else:
        shade += 0.4 * grain(x, y * 2.0, 0.6, foot, seed) + 0.3 * grain(x * 2.0, y, 2.2, foot, seed + 1)
        gloss = 0.45
    if face:
        shade *= 0.8
    shade = max(shade, 0.1)
    return red * shade, green * shade, blue * shade, gloss


@leaf
def _marking(road, s, d, other):
    """Paint on a carriageway: zebra crossings and stop lines at junctions, lines and arrows elsewhere."""
    half, median, lanes, lane, parking = road[0], road[1], road[3], road[4], road[5]
    side = abs(d)
    if 1.2 < other < 4.4:
        return _WHITE if other > 4.1 or (other < 4.0 and saw(d) < 0.5) else _BARE
    if other <= 5.0:
        return _BARE
    edge = median + lanes * lane
    if median == 0.0 and abs(side - 0.12) < 0.06:
        return _YELLOW
    if parking > 0.0 and abs(side - edge) < 0.06:
        return _WHITE
    if parking == 0.0 and min(abs(side - half + 0.35), abs(side - half + 0.55)) < 0.05:
        return _YELLOW
    if side > edge or side < median:
        return _BARE
    between = (side - median) / lane
    if abs(between - np.rint(between)) * lane < 0.06 and 0.5 < between < lanes - 0.5 and saw(s / 6.0) < 0.45:
        return _WHITE
    off, ahead = abs(saw(between) - 0.5) * lane, saw(s / 44.0) * 44.0 - 20.0
    shaft = 0.0 < ahead < 2.4 and off < 0.09
    return _WHITE if shaft or (2.4 <= ahead < 3.6 and off < 0.4 * (3.6 - ahead) / 1.2) else _BARE
