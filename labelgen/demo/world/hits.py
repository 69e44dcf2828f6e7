"""Where a ray meets a part: the one intersection routine that cameras, LiDAR, shadows and visibility share.

Rays are given in the part's own frame; the direction need not have unit length, distances are in its
multiples. Sources: slab test (Kay and Kajiya 1986), quadrics (Glassner, An Introduction to Ray Tracing).
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

import numpy as np

from labelgen.demo.world.jit import inlined, leaf

BOX, HULL, CONE, ELLIPSOID, TUBE = 0, 1, 2, 3, 4
_NONE = np.inf
_TINY = 1e-12


@inlined
def hash01(x, y, z, seed):
    """Uniform number in 0..1 of three integers and a seed (a 64-bit mix, the same on every machine)."""
    h = (
        np.uint64(np.int64(x) * 73856093)
        ^ np.uint64(np.int64(y) * 19349663)
        ^ np.uint64(np.int64(z) * 83492791)
        ^ np.uint64(np.int64(seed) * 2654435761)
    )
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return np.float64(h >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@leaf
def _solid(px, py, pz, hz, share, pitch, seed):
    """Whether a part has matter at a point of its surface (leaves, bars of a fence)."""
    if share > 0.0:
        # Warped cells look less like dice.
        px, py, pz = (
            px + 0.45 * pitch * np.sin(1.9 * py / pitch),
            py + 0.45 * pitch * np.sin(1.7 * pz / pitch),
            pz + 0.45 * pitch * np.sin(2.1 * px / pitch),
        )
        return hash01(np.floor(px / pitch), np.floor(py / pitch), np.floor(pz / pitch), seed) >= share
    if abs(pz) > 0.86 * hz or abs(pz - 0.1 * hz) < 0.03:
        return True
    along = px / pitch
    return along - np.floor(along) < -share


@leaf
def _interval(kind, ox, oy, oz, dx, dy, dz, hx, hy, hz, s0, s1, s2):
    """(enter, leave) of a convex part; enter > leave where the ray misses it."""
    if kind == BOX:
        near, far = -np.inf, np.inf
        if abs(dx) > _TINY:
            a, b = (-hx - ox) / dx, (hx - ox) / dx
            near, far = max(near, min(a, b)), min(far, max(a, b))
        elif abs(ox) > hx:
            return 1.0, 0.0
        if abs(dy) > _TINY:
            a, b = (-hy - oy) / dy, (hy - oy) / dy
            near, far = max(near, min(a, b)), min(far, max(a, b))
        elif abs(oy) > hy:
            return 1.0, 0.0
        if abs(dz) > _TINY:
            a, b = (-hz - oz) / dz, (hz - oz) / dz
            near, far = max(near, min(a, b)), min(far, max(a, b))
        elif abs(oz) > hz:
            return 1.0, 0.0
        return near, far
    if kind == ELLIPSOID:
        x, y, z, u, v, w = ox / hx, oy / hy, oz / hz, dx / hx, dy / hy, dz / hz
        a = u * u + v * v + w * w
        b = x * u + y * v + z * w
        disc = b * b - a * (x * x + y * y + z * z - 1.0)
        if disc <= 0.0:
            return 1.0, 0.0
        root = np.sqrt(disc)
        return (-b - root) / a, (-b + root) / a
    near, far = -np.inf, np.inf
    if abs(dz) > _TINY:
        a, b = (-hz - oz) / dz, (hz - oz) / dz
        near, far = min(a, b), max(a, b)
    elif abs(oz) > hz:
        return 1.0, 0.0
    if kind == HULL:
        # Four slanted sides n . p <= k; each moves linearly from the bottom face to the top face.
        rise = 0.5 / hz
        for side in range(4):
            if side == 0:
                k = (s1 - 1.0) * hx * rise
                n, m = dx - k * dz, hx + k * (oz + hz) - ox
            elif side == 1:
                k = (-s0 - 1.0) * hx * rise
                n, m = -dx - k * dz, hx + k * (oz + hz) + ox
            elif side == 2:
                k = (s2 - 1.0) * hy * rise
                n, m = dy - k * dz, hy + k * (oz + hz) - oy
            else:
                k = (s2 - 1.0) * hy * rise
                n, m = -dy - k * dz, hy + k * (oz + hz) + oy
            if n > _TINY:
                far = min(far, m / n)
            elif n < -_TINY:
                near = max(near, m / n)
            elif m < 0.0:
                return 1.0, 0.0
        return near, far
    # Frustum: x^2 + y^2 = r(z)^2 with r = 1 at the bottom and s0 at the top, in units of hx, hy.
    k = (s0 - 1.0) * 0.5 / hz
    x, y, u, v = ox / hx, oy / hy, dx / hx, dy / hy
    r, q = 1.0 + k * (oz + hz), k * dz
    a = u * u + v * v - q * q
    b = x * u + y * v - r * q
    c = x * x + y * y - r * r
    disc = b * b - a * c
    if disc <= 0.0:
        return (near, far) if a < 0.0 else (1.0, 0.0)
    root = np.sqrt(disc)
    if abs(a) < _TINY:
        return (max(near, -c / (2.0 * b)), far) if b < 0.0 else (near, min(far, -c / (2.0 * b)))
    t0, t1 = (-b - root) / a, (-b + root) / a
    if a > 0.0:
        return max(near, t0), min(far, t1)
    # Steeper than the wall: the ray is inside before t1 and after t0; the slab holds only one of the two.
    return (near, min(far, t1)) if near <= t1 else (max(near, t0), far)


@leaf
def hit(kind, ox, oy, oz, dx, dy, dz, hx, hy, hz, s0, s1, s2, share, pitch, seed, low):
    """Distance to the first matter beyond ``low``, infinite if there is none."""
    if kind == TUBE:
        return _hit_tube(ox, oy, oz, dx, dy, dz, hx, hy, hz, s0, low)
    near, far = _interval(kind, ox, oy, oz, dx, dy, dz, hx, hy, hz, s0, s1, s2)
    if near > far or far <= low:
        return _NONE
    if share == 0.0:
        return near if near > low else far
    if near > low and _solid(ox + near * dx, oy + near * dy, oz + near * dz, hz, share, pitch, seed):
        return near
    if _solid(ox + far * dx, oy + far * dy, oz + far * dz, hz, share, pitch, seed):
        return far
    return _NONE


@leaf
def _hit_tube(ox, oy, oz, dx, dy, dz, hx, hy, hz, inner, low):
    best = _NONE
    x, y, u, v = ox / hx, oy / hy, dx / hx, dy / hy
    a = u * u + v * v
    if a > _TINY:
        b = x * u + y * v
        for wall in range(2):
            radius = 1.0 if wall == 0 else inner
            disc = b * b - a * (x * x + y * y - radius * radius)
            if disc > 0.0:
                root = np.sqrt(disc)
                t = (-b - root) / a if wall == 0 else (-b + root) / a
                if low < t < best and abs(oz + t * dz) <= hz:
                    best = t
    if abs(dz) > _TINY:
        t = ((-hz if dz > 0.0 else hz) - oz) / dz
        if low < t < best:
            r = (x + t * u) ** 2 + (y + t * v) ** 2
            if inner * inner <= r <= 1.0:
                best = t
    return best


@leaf
def normal(kind, px, py, pz, hx, hy, hz, s0, s1, s2):
    """Outward unit normal at a point of the surface, in the part's frame."""
    nx, ny, nz = 0.0, 0.0, 1.0
    if kind == BOX:
        ax, ay, az = hx - abs(px), hy - abs(py), hz - abs(pz)
        if ax <= ay and ax <= az:
            nx, ny, nz = (1.0 if px > 0 else -1.0), 0.0, 0.0
        elif ay <= az:
            nx, ny, nz = 0.0, (1.0 if py > 0 else -1.0), 0.0
        else:
            nz = 1.0 if pz > 0 else -1.0
    elif kind == ELLIPSOID:
        nx, ny, nz = px / (hx * hx), py / (hy * hy), pz / (hz * hz)
    elif kind == HULL:
        up = (pz + hz) * 0.5 / hz
        front, rear = hx * (1.0 + (s1 - 1.0) * up) - px, px + hx * (1.0 + (-s0 - 1.0) * up)
        side = hy * (1.0 + (s2 - 1.0) * up) - abs(py)
        top = hz - abs(pz)
        if top <= front and top <= rear and top <= side:
            nz = 1.0 if pz > 0 else -1.0
        elif side <= front and side <= rear:
            nx, ny, nz = 0.0, (1.0 if py > 0 else -1.0), (1.0 - s2) * hy * 0.5 / hz
        elif front <= rear:
            nx, ny, nz = 1.0, 0.0, (1.0 - s1) * hx * 0.5 / hz
        else:
            nx, ny, nz = -1.0, 0.0, (1.0 + s0) * hx * 0.5 / hz
    else:
        r = np.sqrt((px / hx) ** 2 + (py / hy) ** 2)
        slope = (1.0 - s0) * 0.5 / hz if kind == CONE else 0.0
        outer, inner = abs(r - (1.0 - slope * (pz + hz))) * hx, np.inf
        if kind == TUBE:
            inner = abs(r - s0) * hx
        if min(outer, inner) > hz - abs(pz):
            nz = 1.0 if pz > 0 else -1.0
        elif outer <= inner:
            nx, ny, nz = px / (hx * hx), py / (hy * hy), slope * r
        else:
            nx, ny, nz = -px / (hx * hx), -py / (hy * hy), 0.0
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length
