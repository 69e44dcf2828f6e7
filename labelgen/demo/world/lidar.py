"""LiDAR sweeps: every beam is cast at its own moment, then the sweep is motion-compensated as in nuScenes.

The revolution is cut into slices of a few firings. Parts that move are placed at the slice's middle and
shifted along their velocity to the moment of each firing, so that hits lie on the surface where it was then.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world import materials, paving, rig
from labelgen.demo.world.camera import GROUND, NOTHING
from labelgen.demo.world.categories import EGO
from labelgen.demo.world.city import City
from labelgen.demo.world.hits import hit, normal
from labelgen.demo.world.jit import kernel, leaf
from labelgen.demo.world.primitives import joined
from labelgen.demo.world.render import in_bands
from labelgen.demo.world.surface import CATEGORY, HEIGHT, ground_hit, piece_at

FloatArray = NDArray[np.float64]
SLICE = 16  #: firings that share one placement of the moving parts
MAX_RANGE = 105.0
MIN_RANGE = 0.35
RANGE_NOISE = 0.012  #: metres, standard deviation
#: Metres at which half of the beams come back from a surface that sends back a quarter of the light.
HALF_RANGE = 82.0


@dataclass(frozen=True)
class Sweep:
    """Points of one revolution, in the order of the file (by firing, then ring).

    Attributes:
        points: (N, 5) float32 x, y, z in the LiDAR frame at ``time_s``, intensity 0..255, ring.
        category: (N,) uint8 general category; object_id: (N,) uint16; body: (N,) int32, -1 for ground.
        fired_s: (N,) float64 when each beam was fired; ``time_s``: the sweep's timestamp (its end).
        world: (N, 3) float64 where the beam met the surface (without range noise).
        attached: (N, 3) float64 the same in the frame of the moving body that was met, zero for what rests.
    """

    points: NDArray[np.float32]
    category: NDArray[np.uint8]
    object_id: NDArray[np.uint16]
    body: NDArray[np.int32]
    fired_s: FloatArray
    time_s: float
    world: FloatArray
    attached: FloatArray


def scan(city: City, time_s: float) -> Sweep:
    """One revolution that ends at ``time_s``."""
    steps, rings = rig.AZIMUTH_STEPS, len(rig.ELEVATIONS_DEG)
    fired = time_s - rig.SWEEP_SECONDS * (1.0 - (np.arange(steps) + 0.5) / steps)
    azimuth = np.radians(rig.START_AZIMUTH_DEG - 360.0 * (np.arange(steps) + 0.5) / steps)
    elevation = np.radians(rig.ELEVATIONS_DEG)
    beams = np.stack(
        [
            np.cos(azimuth)[:, None] * np.cos(elevation),
            np.sin(azimuth)[:, None] * np.cos(elevation),
            np.broadcast_to(np.sin(elevation), (steps, rings)),
        ],
        -1,
    )
    world_from_lidar = np.stack([city.world_from_ego(t) @ rig.LIDAR.ego_from_sensor for t in fired])
    start = np.ascontiguousarray(world_from_lidar[:, :3, 3])
    ray = np.einsum("sij,srj->sri", world_from_lidar[:, :3, :3], beams)

    distance, row = np.full((steps, rings), np.inf), np.full((steps, rings), NOTHING, np.int32)
    cosine = np.zeros((steps, rings))
    truth = np.zeros((steps, rings, 4), np.int32)  # category, object, material, body

    def slices(first: int, last: int) -> None:
        for k in range(first, last):
            a, b = k * SLICE, min((k + 1) * SLICE, steps)
            middle = 0.5 * (fired[a] + fired[b - 1])
            before, after = city.moving(middle - 1e-3), city.moving(middle + 1e-3)
            now = city.moving(middle)
            velocity = np.zeros((len(city.static.kind) + len(now.kind), 3))
            velocity[len(city.static.kind) :] = (after.centre - before.centre) / 2e-3
            prims = joined(city.static, now)
            chosen, near = _within(prims, start[a:b], ray[a:b], MAX_RANGE)
            _cast(
                prims,
                chosen,
                near,
                velocity,
                city.ground,
                start[a:b],
                ray[a:b],
                fired[a:b] - middle,
                MAX_RANGE,
                distance[a:b],
                row[a:b],
                cosine[a:b],
                truth[a:b],
            )

    in_bands(slices, (steps + SLICE - 1) // SLICE)
    return _returns(city, time_s, fired, start, ray, distance, row, cosine, truth)


def _returns(
    city: City,
    time_s: float,
    fired: FloatArray,
    start: FloatArray,
    ray: FloatArray,
    distance: FloatArray,
    row: NDArray[np.int32],
    cosine: FloatArray,
    truth: NDArray[np.int32],
) -> Sweep:
    """Drop weak returns, add noise, and bring what is left to the sweep's own time."""
    rng = np.random.default_rng(np.random.SeedSequence([city.seed, 1, round(time_s * 1e6)]))
    shape = distance.shape
    ring = np.broadcast_to(np.arange(shape[1]), shape)
    column = np.broadcast_to(np.arange(shape[0])[:, None], shape)
    draw, jitter, fade = rng.random(shape), rng.normal(0.0, 1.0, shape), rng.normal(0.0, 1.0, shape)
    ground = row == GROUND
    reflect = np.where(
        ground,
        paving.GROUND_REFLECTIVITY[np.where(ground, truth[..., 2], 0)],
        materials.REFLECTIVITY[np.where(ground, 0, truth[..., 2])],
    )
    # Lambert's law; dark, slanted or far surfaces send too little light back to be seen.
    power = reflect * (0.15 + 0.85 * cosine)
    chance = 1.0 / (1.0 + np.exp((distance - HALF_RANGE * np.sqrt(power / 0.25)) / 9.0))
    own = truth[..., 0] == EGO
    seen = np.isfinite(distance) & (distance > MIN_RANGE) & (own | (draw < 0.985 * chance))
    c, r = column[seen], ring[seen]
    exact = distance[seen]
    measured = exact + jitter[seen] * RANGE_NOISE
    world = start[c] + ray[c, r] * exact[:, None]
    noisy = start[c] + ray[c, r] * measured[:, None]
    end = rig.rigid_inverse(city.world_from_ego(time_s) @ rig.LIDAR.ego_from_sensor)
    xyz = noisy @ end[:3, :3].T + end[:3, 3]
    intensity = np.clip(255.0 * power[seen] * (0.55 + 0.1 * fade[seen]), 0.0, 255.0)
    retro = (reflect[seen] >= 0.6) & (cosine[seen] > 0.4)
    intensity = np.floor(np.where(retro, np.minimum(255.0, intensity * 1.6), intensity * 0.75))
    points = np.concatenate([xyz, intensity[:, None], r[:, None]], 1).astype(np.float32)
    body = truth[seen][:, 3]
    return Sweep(
        points,
        truth[seen][:, 0].astype(np.uint8),
        truth[seen][:, 1].astype(np.uint16),
        body,
        fired[c],
        time_s,
        world,
        _attached(city, world, body, fired, c),
    )


def _attached(
    city: City, world: FloatArray, body: NDArray[np.int32], fired: FloatArray, column: NDArray[np.int64]
) -> FloatArray:
    """(N, 3) places in the frames of the moving bodies, as they stood when each beam was fired."""
    out = np.zeros_like(world)
    rows = np.flatnonzero(np.isin(body, city.traffic.rows))
    for k in np.unique(column[rows]):
        mine = rows[column[rows] == k]
        x, y, z, yaw, _ = city.traffic.poses(float(fired[k]))[body[mine]].T
        c, s = np.cos(yaw), np.sin(yaw)
        u, v = world[mine, 0] - x, world[mine, 1] - y
        out[mine] = np.stack([c * u + s * v, c * v - s * u, world[mine, 2] - z], 1)
    return out


@kernel
def _within(p, start, ray, max_range):
    """Rows of parts that a slice of firings may meet, nearest first, and their least distances."""
    n = len(p.kind)
    steps, rings, _ = ray.shape
    middle = steps // 2
    ox, oy, oz = start[middle]
    forward = ray[middle, rings // 2]
    fx, fy = forward[0], forward[1]
    length = np.sqrt(fx * fx + fy * fy)
    fx, fy = fx / length, fy / length
    # The slice's wedge, half a degree wider than its firings: parts outside are skipped.
    half = np.pi * steps / 1084.0 + 0.02
    c, s = np.cos(half), np.sin(half)
    left_x, left_y = -(fx * s + fy * c), fx * c - fy * s
    right_x, right_y = -(fx * s - fy * c), -(fx * c + fy * s)
    near, chosen, count = np.empty(n), np.empty(n, np.int64), 0
    for i in range(n):
        a, b, z = p.centre[i, 0] - ox, p.centre[i, 1] - oy, p.centre[i, 2] - oz
        radius = np.sqrt(p.half[i, 0] ** 2 + p.half[i, 1] ** 2 + p.half[i, 2] ** 2) + 0.1
        d = np.sqrt(a * a + b * b + z * z) - radius
        if d > max_range:
            continue
        reach_l, reach_r, reach_f = 0.1, 0.1, 0.1
        for k in range(3):
            ux, uy, h = p.axes[i, 0, k], p.axes[i, 1, k], p.half[i, k]
            reach_l += abs(ux * left_x + uy * left_y) * h
            reach_r += abs(ux * right_x + uy * right_y) * h
            reach_f += abs(ux * fx + uy * fy) * h
        if (
            a * left_x + b * left_y > reach_l
            or a * right_x + b * right_y > reach_r
            or a * fx + b * fy < -reach_f
        ):
            continue
        near[count], chosen[count] = d, i
        count += 1
    order = np.argsort(near[:count])
    return chosen[order], near[order]


@leaf
def _cast(p, chosen, near, velocity, g, start, ray, lag, max_range, distance, row, cosine, truth):
    """First hits of a slice of firings; ``lag`` is each firing's time after the placement of ``p``."""
    steps, rings, _ = ray.shape
    guess = np.int64(0)
    for j in range(steps):
        for r in range(rings):
            dx, dy, dz = ray[j, r]
            best, found = max_range, NOTHING
            kind, face = 0, False
            for k in range(len(chosen)):
                if near[k] >= best:
                    break
                i = chosen[k]
                a = start[j, 0] - p.centre[i, 0] - velocity[i, 0] * lag[j]
                b = start[j, 1] - p.centre[i, 1] - velocity[i, 1] * lag[j]
                z = start[j, 2] - p.centre[i, 2] - velocity[i, 2] * lag[j]
                m = p.axes[i]
                t = hit(
                    p.kind[i],
                    m[0, 0] * a + m[1, 0] * b + m[2, 0] * z,
                    m[0, 1] * a + m[1, 1] * b + m[2, 1] * z,
                    m[0, 2] * a + m[1, 2] * b + m[2, 2] * z,
                    m[0, 0] * dx + m[1, 0] * dy + m[2, 0] * dz,
                    m[0, 1] * dx + m[1, 1] * dy + m[2, 1] * dz,
                    m[0, 2] * dx + m[1, 2] * dy + m[2, 2] * dz,
                    p.half[i, 0],
                    p.half[i, 1],
                    p.half[i, 2],
                    p.shape[i, 0],
                    p.shape[i, 1],
                    p.shape[i, 2],
                    p.open[i, 0],
                    p.open[i, 1],
                    p.seed[i],
                    0.12,
                )
                if t < best:
                    best, found = t, i
            t, kind, face, _, _, _, _ = ground_hit(
                g, HEIGHT, start[j, 0], start[j, 1], start[j, 2], dx, dy, dz, best, guess
            )
            if t < best:
                best, found, guess = t, GROUND, np.int64(kind)
            if found == NOTHING:
                continue
            distance[j, r], row[j, r] = best, found
            if found == GROUND:
                x, y = start[j, 0] + best * dx, start[j, 1] + best * dy
                truth[j, r, 0], truth[j, r, 1] = CATEGORY[kind], piece_at(g, kind, x, y)
                truth[j, r, 2], truth[j, r, 3] = kind, -1
                cosine[j, r] = 0.7 if face else -dz
                continue
            i = found
            truth[j, r, 0], truth[j, r, 1] = p.category[i], p.object_id[i]
            truth[j, r, 2], truth[j, r, 3] = p.material[i], p.body[i]
            m = p.axes[i]
            a = start[j, 0] + best * dx - p.centre[i, 0] - velocity[i, 0] * lag[j]
            b = start[j, 1] + best * dy - p.centre[i, 1] - velocity[i, 1] * lag[j]
            z = start[j, 2] + best * dz - p.centre[i, 2] - velocity[i, 2] * lag[j]
            nx, ny, nz = normal(
                p.kind[i],
                m[0, 0] * a + m[1, 0] * b + m[2, 0] * z,
                m[0, 1] * a + m[1, 1] * b + m[2, 1] * z,
                m[0, 2] * a + m[1, 2] * b + m[2, 2] * z,
                p.half[i, 0],
                p.half[i, 1],
                p.half[i, 2],
                p.shape[i, 0],
                p.shape[i, 1],
                p.shape[i, 2],
            )
            facing = 0.0
            for k in range(3):
                facing += (m[k, 0] * nx + m[k, 1] * ny + m[k, 2] * nz) * (
                    dx if k == 0 else dy if k == 1 else dz
                )
            cosine[j, r] = abs(facing)
