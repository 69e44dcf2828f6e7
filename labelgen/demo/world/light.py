"""Sky, sun and shadows.

Shadows are exact: parts are sorted into cells of a plane at right angles to the sun's rays, and a ray towards
the sun tests the parts of one cell (a one-level version of the light buffer of Haines and Greenberg 1986).
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world.hits import hit
from labelgen.demo.world.jit import kernel, leaf
from labelgen.demo.world.materials import noise2
from labelgen.demo.world.primitives import Prims

FloatArray = NDArray[np.float64]
SHADOW_CELL = 2.0


class Weather(NamedTuple):
    """Light of a scene.

    Attributes:
        sun: (3,) unit vector towards the sun.
        sun_colour, zenith, horizon: (3,) linear radiance of sun, sky above and sky at the horizon.
        clouds: share of the sky that is covered, 0..1.
        haze: metres at which 63 % of the light comes from the haze.
        seed: of the clouds.
        ground: (10, 3) linear colours of the surfaces of the ground.
        ground_seed: of the ground's noise.
    """

    sun: FloatArray
    sun_colour: FloatArray
    zenith: FloatArray
    horizon: FloatArray
    clouds: float
    haze: float
    seed: int
    ground: FloatArray
    ground_seed: int


class SunGrid(NamedTuple):
    """Parts by cell of the plane at right angles to the sun, around ``origin``.

    Attributes:
        u, v: (3,) axes of the plane.
        origin: (2,) metres; cells: number along each side.
        start, part: CSR table of rows of `Prims`.
        towards: (P, 3) float64, direction to the sun in each part's frame.
    """

    u: FloatArray
    v: FloatArray
    origin: FloatArray
    cells: int
    start: NDArray[np.int32]
    part: NDArray[np.int32]
    towards: FloatArray


def sun_grid(prims: Prims, sun: FloatArray, around: FloatArray, reach: float) -> SunGrid:
    """Sort parts for shadow rays that start within ``reach`` metres of a place."""
    u = np.cross(sun, [0.0, 0.0, 1.0])
    u /= np.linalg.norm(u)
    v = np.cross(sun, u)
    cells = int(np.ceil(2 * reach / SHADOW_CELL))
    origin = np.array([around @ u, around @ v]) - reach
    start, part, towards = _fill(prims.centre, prims.axes, prims.half, sun, u, v, origin, cells)
    return SunGrid(u, v, origin, cells, start, part, towards)


@kernel
def _fill(centre, axes, half, sun, u, v, origin, cells):
    n = len(centre)
    towards = np.empty((n, 3))
    rects = np.empty((n, 4), np.int32)
    count = np.zeros(cells * cells + 1, np.int32)
    for i in range(n):
        reach_u, reach_v, at_u, at_v = 0.0, 0.0, 0.0, 0.0
        for k in range(3):
            towards[i, k] = axes[i, 0, k] * sun[0] + axes[i, 1, k] * sun[1] + axes[i, 2, k] * sun[2]
            reach_u += abs(axes[i, 0, k] * u[0] + axes[i, 1, k] * u[1] + axes[i, 2, k] * u[2]) * half[i, k]
            reach_v += abs(axes[i, 0, k] * v[0] + axes[i, 1, k] * v[1] + axes[i, 2, k] * v[2]) * half[i, k]
            at_u += centre[i, k] * u[k]
            at_v += centre[i, k] * v[k]
        rects[i, 0] = max(0, int(np.floor((at_u - reach_u - origin[0]) / SHADOW_CELL)))
        rects[i, 1] = min(cells - 1, int(np.floor((at_u + reach_u - origin[0]) / SHADOW_CELL)))
        rects[i, 2] = max(0, int(np.floor((at_v - reach_v - origin[1]) / SHADOW_CELL)))
        rects[i, 3] = min(cells - 1, int(np.floor((at_v + reach_v - origin[1]) / SHADOW_CELL)))
        for row in range(rects[i, 2], rects[i, 3] + 1):
            for col in range(rects[i, 0], rects[i, 1] + 1):
                count[row * cells + col + 1] += 1
    start = np.cumsum(count).astype(np.int32)
    fill = start[:-1].copy()
    part = np.empty(start[-1], np.int32)
    for i in range(n):
        for row in range(rects[i, 2], rects[i, 3] + 1):
            for col in range(rects[i, 0], rects[i, 1] + 1):
                cell = row * cells + col
                part[fill[cell]] = i
                fill[cell] += 1
    return start, part, towards


@leaf
def in_sun(p, grid, x, y, z):
    """Whether nothing stands between a point and the sun."""
    col = int(np.floor((x * grid.u[0] + y * grid.u[1] + z * grid.u[2] - grid.origin[0]) / SHADOW_CELL))
    row = int(np.floor((x * grid.v[0] + y * grid.v[1] + z * grid.v[2] - grid.origin[1]) / SHADOW_CELL))
    if not (0 <= col < grid.cells and 0 <= row < grid.cells):
        return True
    cell = row * grid.cells + col
    for k in range(grid.start[cell], grid.start[cell + 1]):
        i = grid.part[k]
        a, b, c = x - p.centre[i, 0], y - p.centre[i, 1], z - p.centre[i, 2]
        m = p.axes[i]
        t = hit(
            p.kind[i],
            m[0, 0] * a + m[1, 0] * b + m[2, 0] * c,
            m[0, 1] * a + m[1, 1] * b + m[2, 1] * c,
            m[0, 2] * a + m[1, 2] * b + m[2, 2] * c,
            grid.towards[i, 0],
            grid.towards[i, 1],
            grid.towards[i, 2],
            p.half[i, 0],
            p.half[i, 1],
            p.half[i, 2],
            p.shape[i, 0],
            p.shape[i, 1],
            p.shape[i, 2],
            p.open[i, 0],
            p.open[i, 1],
            p.seed[i],
            2e-3,
        )
        if t < np.inf:
            return False
    return True


@leaf
def sky(w, dx, dy, dz, clouds):
    """Linear (r, g, b) of the sky in a unit direction."""
    up = max(dz, 0.0)
    mix = up**0.45
    r = w.horizon[0] + (w.zenith[0] - w.horizon[0]) * mix
    g = w.horizon[1] + (w.zenith[1] - w.horizon[1]) * mix
    b = w.horizon[2] + (w.zenith[2] - w.horizon[2]) * mix
    glow = max(dx * w.sun[0] + dy * w.sun[1] + dz * w.sun[2], 0.0)
    glow = 0.35 * glow**8 + 2.5 * glow**400
    if clouds and up > 0.01:
        x, y = dx / (up + 0.12) * 1.6, dy / (up + 0.12) * 1.6
        n = 0.55 * noise2(x, y, w.seed) + 0.28 * noise2(2.3 * x, 2.3 * y, w.seed + 1)
        n += 0.17 * noise2(5.3 * x, 5.3 * y, w.seed + 2)
        cover = min(max((n - 0.72 + 0.55 * w.clouds) * 5.0, 0.0), 1.0) * min(1.0, up * 8.0)
        bright = 0.75 + 0.5 * noise2(3.1 * x + 0.4, 3.1 * y, w.seed + 3)
        tone = (w.sun_colour[0] + w.sun_colour[1] + w.sun_colour[2]) * 0.16 + w.horizon[1] * 0.4
        r, g, b = (
            r + (tone * bright - r) * cover,
            g + (tone * bright - g) * cover,
            b + (tone * bright - b) * cover,
        )
        glow *= 1.0 - 0.7 * cover
    return r + glow * w.sun_colour[0], g + glow * w.sun_colour[1], b + glow * w.sun_colour[2]
