"""Which camera truly sees which LiDAR point, by rays at the camera's own firing time."""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world import rig
from labelgen.demo.world.camera import GROUND, NOTHING, first_along, part_hit
from labelgen.demo.world.city import City
from labelgen.demo.world.jit import kernel
from labelgen.demo.world.lidar import Sweep
from labelgen.demo.world.render import Shot

FloatArray = NDArray[np.float64]

#: Bits of the visibility table.
IN_IMAGE, SEEN, SAME_OBJECT = 1, 2, 4
MIN_DEPTH = 1.0  #: metres; nearer points count as outside the picture
TOLERANCE = 0.05  #: metres that a surface may stand before a point and still be the point's own


def seen_by(city: City, sweep: Sweep, shot: Shot, camera_time_s: float) -> NDArray[np.uint8]:
    """(N,) bits of one camera.

    `IN_IMAGE`: the recorded point, taken as standing still, projects into the picture (depth >= 1 m, from the
    centre of the first pixel to that of the last). `SEEN`: also the spot of surface that returned the beam,
    moved along with its object to the camera's firing time, is in the picture and nothing stands before it.
    `SAME_OBJECT`: the ray through the recorded point's place in the picture meets that point's object first.
    """
    lens = shot.lens
    bits = np.zeros(len(sweep.points), np.uint8)
    recorded = sweep.points[:, :3].astype(np.float64)
    pose = city.world_from_ego(sweep.time_s) @ rig.LIDAR.ego_from_sensor
    u, v, depth, inside = _project(shot, recorded @ pose[:3, :3].T + pose[:3, 3])
    bits[inside] |= IN_IMAGE
    rows = np.flatnonzero(inside)
    far = np.full(len(rows), 900.0)
    at, first = first_along(shot.prims, shot.bins, city.ground, lens, u[rows], v[rows], far)
    found = np.zeros(len(rows), np.int64)
    found[first >= 0] = shot.prims.object_id[first[first >= 0]]
    same = found == sweep.object_id[rows]
    on_ground = first == GROUND
    # Any piece of ground counts as the same thing as another one if the depths agree.
    same |= on_ground & (sweep.body[rows] < 0) & (np.abs(at - depth[rows]) < 0.02 * depth[rows] + 0.1)
    bits[rows[same & (first != NOTHING)]] |= SAME_OBJECT

    u, v, depth, there = _project(shot, carried(city, sweep, camera_time_s))
    rows = np.flatnonzero(there & inside)
    limits = np.maximum(depth[rows] - TOLERANCE - 0.002 * depth[rows], 0.1)
    _, first = first_along(shot.prims, shot.bins, city.ground, lens, u[rows], v[rows], limits)
    bits[rows[first == NOTHING]] |= SEEN
    return bits


def carried(city: City, sweep: Sweep, time_s: float) -> FloatArray:
    """(N, 3) where the spots that returned the beams are at another time, moved with their bodies."""
    world = sweep.world.copy()
    rows = np.flatnonzero(np.isin(sweep.body, city.traffic.rows))
    x, y, z, yaw, _ = city.traffic.poses(time_s)[sweep.body[rows]].T
    c, s = np.cos(yaw), np.sin(yaw)
    u, v, w = sweep.attached[rows].T
    world[rows] = np.stack([x + c * u - s * v, y + s * u + c * v, z + w], 1)
    return world


def _project(shot: Shot, world: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    lens = shot.lens
    local = (world - lens.place) @ lens.axes
    depth = local[:, 2]
    safe = np.where(depth > 1e-3, depth, 1.0)
    u, v = lens.fx * local[:, 0] / safe + lens.cx, lens.fy * local[:, 1] / safe + lens.cy
    inside = (depth >= MIN_DEPTH) & (u >= 0) & (u <= lens.width - 1) & (v >= 0) & (v <= lens.height - 1)
    return u, v, depth, inside


@kernel
def visible_counts(p, rays, near, lens, rows, start, objects, object_map, grid):
    """(O, 2) rays of a grid over each object that meet it, and those whose pixel shows it.

    ``rows[start[k]:start[k + 1]]`` are the parts of object ``objects[k]``; rays beyond the picture's border
    count as not showing it.
    """
    out = np.zeros((len(objects), 2), np.int64)
    m = lens.axes
    for k in range(len(objects)):
        u0, u1, v0, v1 = np.inf, -np.inf, np.inf, -np.inf
        shown = False
        for j in range(start[k], start[k + 1]):
            i = rows[j]
            shown = shown or near[i] < np.inf
            a, b, c = (
                p.centre[i, 0] - lens.place[0],
                p.centre[i, 1] - lens.place[1],
                p.centre[i, 2] - lens.place[2],
            )
            radius = np.sqrt(p.half[i, 0] ** 2 + p.half[i, 1] ** 2 + p.half[i, 2] ** 2)
            depth = max(m[0, 2] * a + m[1, 2] * b + m[2, 2] * c, 0.5)
            u = lens.cx + lens.fx * (m[0, 0] * a + m[1, 0] * b + m[2, 0] * c) / depth
            v = lens.cy + lens.fy * (m[0, 1] * a + m[1, 1] * b + m[2, 1] * c) / depth
            reach = lens.fx * radius / depth
            u0, u1, v0, v1 = min(u0, u - reach), max(u1, u + reach), min(v0, v - reach), max(v1, v + reach)
        if not shown:
            continue
        for row in range(grid):
            for col in range(grid):
                u, v = u0 + (u1 - u0) * (col + 0.5) / grid, v0 + (v1 - v0) * (row + 0.5) / grid
                met = False
                for j in range(start[k], start[k + 1]):
                    i = rows[j]
                    if near[i] < np.inf and part_hit(p, rays, i, u, v, 0.05) < np.inf:
                        met = True
                        break
                if met:
                    out[k, 0] += 1
                    x, y = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
                    if 0 <= x < lens.width and 0 <= y < lens.height and object_map[y, x] == objects[k]:
                        out[k, 1] += 1
    return out
