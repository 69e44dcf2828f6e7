"""All points into all cameras in one pass.

A point is kept by the rule of nuscenes-devkit's ``map_pointcloud_to_image``: deeper than ``min_depth``
and strictly inside a border of the image. Two kernels share the work: `_candidates` drops whatever is
surely outside a camera's four side planes, in float32, sixteen points per instruction; `_views` then
applies the rule to the few that are left, exactly, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.geometry.cameras import Rig, stack
from labelgen.geometry.settings import DEFAULT, ProjectionSettings

MOST_TESTS = 1 << 28  #: points times cameras of a frame: a million points in 250 cameras
MOST_VIEWS = 1 << 25  #: of a frame: a million points in 30 cameras each
_BLOCK = 256  #: points per block: four float32 rows of it stay in the first-level cache
_BATCH = 256  #: candidates per batch of the exact test


class Projection(NamedTuple):
    """Pairs of point and camera, sorted by camera, then by point.

    Attributes:
        point: (V,) int32, row of the cloud.
        camera: (V,) uint8.
        uv: (V, 2) float32, pixels; (0, 0) is the centre of the top-left pixel.
        depth: (V,) float32, metres along the camera's axis.
    """

    point: NDArray[np.int32]
    camera: NDArray[np.uint8]
    uv: NDArray[np.float32]
    depth: NDArray[np.float32]


def project_points(
    xyz: NDArray[np.float32],
    cameras: Sequence[Camera],
    settings: ProjectionSettings = DEFAULT,
) -> Projection:
    """Project all points into all cameras.

    Pinhole: (u z, v z, z) = K [R | t] (x, y, z, 1). With distortion: OpenCV's model (calib3d, rational,
    tangential, thin prism and tilt); points beyond the radius at which the model folds back are dropped.
    All maths is in float64. Points that are not finite project nowhere.

    Args:
        xyz: (N, 3) float32, metres, in the LiDAR frame.
        cameras: at most 254, as in `Frame.cameras`.
        settings: the rule that keeps a point.

    Raises:
        ValueError: if a camera's intrinsics or distortion cannot be used, or there is more than `MOST_TESTS`
            and `MOST_VIEWS` to do.
    """
    rig = stack(cameras)
    if len(xyz) * len(cameras) > MOST_TESTS:
        raise ValueError(f"{len(xyz)} points in {len(cameras)} cameras are too many for one frame")
    flat = np.ascontiguousarray(xyz, np.float32).reshape(-1)
    counts, index = _candidates(flat, rig, settings.border)
    if counts.sum() > MOST_VIEWS:
        raise ValueError(
            f"{len(xyz)} points may be seen {counts.sum()} times by {len(cameras)} cameras; the maximum is "
            f"{MOST_VIEWS}"
        )
    return Projection(*_views(flat, rig, settings.min_depth, settings.border, counts, index))


@numba.njit(cache=True, error_model="numpy")
def _side_planes(rig: Rig, border: float) -> tuple[NDArray[np.float32], np.float32]:
    """Unit normals and offsets (C, 4, 4) of the planes through the image's borders, and the largest offset.

    A point inside all four is in front of the camera. A lens may bend points from beyond the planes
    into the image: there all four are the plane z = 0.
    """
    planes = np.empty((len(rig.size), 4, 4), np.float32)
    reach = 0.0
    plane = np.empty(4)
    for c in range(len(planes)):
        matrix = rig.pinhole[c]
        for side in range(4):
            axis = side // 2
            for k in range(4):
                if rig.distorted[c]:
                    plane[k] = matrix[2, k]
                elif side % 2 == 0:
                    plane[k] = matrix[axis, k] - border * matrix[2, k]
                else:
                    plane[k] = (rig.size[c, axis] - border) * matrix[2, k] - matrix[axis, k]
            norm = np.sqrt(plane[0] * plane[0] + plane[1] * plane[1] + plane[2] * plane[2])
            for k in range(4):
                planes[c, side, k] = plane[k] / norm
            reach = max(reach, abs(plane[3] / norm))
    return planes, np.float32(reach)


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def _candidates(
    flat: NDArray[np.float32], rig: Rig, border: float
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Points that may be in the image: (C,) how many, and (C, N + 1) their rows, in order.

    Float32 with a slack of ten times its rounding error: nothing that belongs in is lost. Contraction
    (fused multiply-add) only makes it more exact and cannot change the result of the exact test.
    """
    N = len(flat) // 3
    planes, reach = _side_planes(rig, border)
    counts = np.zeros(len(planes), np.int64)
    index = np.empty((len(planes), N + 1), np.int32)
    block = np.empty((4, _BLOCK), np.float32)  # x, y, z and the slack
    inside = np.empty(_BLOCK, np.bool_)
    for begin in range(0, N, _BLOCK):
        size = min(_BLOCK, N - begin)
        part = flat[3 * begin : 3 * (begin + size)]
        for i in range(size):
            block[0, i] = part[3 * i]
            block[1, i] = part[3 * i + 1]
            block[2, i] = part[3 * i + 2]
        for i in range(size, _BLOCK):
            block[0, i] = np.nan
        for i in range(_BLOCK):
            block[3, i] = np.float32(-4e-6) * (abs(block[0, i]) + abs(block[1, i]) + abs(block[2, i]) + reach)
        for c in range(len(planes)):
            a0, a1, a2, a3 = planes[c, 0]
            b0, b1, b2, b3 = planes[c, 1]
            c0, c1, c2, c3 = planes[c, 2]
            d0, d1, d2, d3 = planes[c, 3]
            for i in range(_BLOCK):
                x, y, z, least = block[0, i], block[1, i], block[2, i], block[3, i]
                inside[i] = (
                    (a0 * x + a1 * y + a2 * z + a3 >= least)
                    & (b0 * x + b1 * y + b2 * z + b3 >= least)
                    & (c0 * x + c1 * y + c2 * z + c3 >= least)
                    & (d0 * x + d1 * y + d2 * z + d3 >= least)
                )
            found = False
            for i in range(_BLOCK):
                found |= inside[i]
            if found:
                k = counts[c]
                row = index[c]
                for i in range(size):
                    row[k] = begin + i
                    k += inside[i]
                counts[c] = k
    return counts, index


@numba.njit(cache=True, error_model="numpy")
def _views(
    flat: NDArray[np.float32],
    rig: Rig,
    min_depth: float,
    border: float,
    counts: NDArray[np.int64],
    index: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """The exact test of the candidates, and what passes it. No fused operations: equal on every machine."""
    V = np.sum(counts)
    point = np.empty(V, np.int32)
    camera = np.empty(V, np.uint8)
    uv = np.empty((V, 2), np.float32)
    depth = np.empty(V, np.float32)
    batch = np.empty((6, _BATCH))  # x, y, z and what they become: u, v, depth
    kept = 0
    for c in range(len(counts)):
        right, bottom = rig.size[c, 0] - border, rig.size[c, 1] - border
        for begin in range(0, counts[c], _BATCH):
            rows = index[c, begin : min(begin + _BATCH, counts[c])]
            size = len(rows)
            for j in range(size):
                i = 3 * np.uint64(rows[j])
                batch[0, j] = flat[i]
                batch[1, j] = flat[i + np.uint64(1)]
                batch[2, j] = flat[i + np.uint64(2)]
            if rig.distorted[c]:
                _distorted(batch, size, rig, c)
            else:
                _pinhole(batch, size, rig.pinhole[c])
            first = kept
            for j in range(size):
                u, v, z = batch[3, j], batch[4, j], batch[5, j]
                if (z > min_depth) & (u > border) & (u < right) & (v > border) & (v < bottom):
                    point[kept] = rows[j]
                    uv[kept, 0] = u
                    uv[kept, 1] = v
                    depth[kept] = z
                    kept += 1
            camera[first:kept] = c
    return point[:kept], camera[:kept], uv[:kept], depth[:kept]


@numba.njit(cache=True, error_model="numpy")
def _pinhole(batch: NDArray[np.float64], size: int, matrix: NDArray[np.float64]) -> None:
    u0, u1, u2, u3 = matrix[0]
    v0, v1, v2, v3 = matrix[1]
    z0, z1, z2, z3 = matrix[2]
    for j in range(size):
        x, y, z = batch[0, j], batch[1, j], batch[2, j]
        depth = z0 * x + z1 * y + z2 * z + z3
        batch[3, j] = (u0 * x + u1 * y + u2 * z + u3) / depth
        batch[4, j] = (v0 * x + v1 * y + v2 * z + v3) / depth
        batch[5, j] = depth


@numba.njit(cache=True, error_model="numpy")
def _distorted(batch: NDArray[np.float64], size: int, rig: Rig, c: int) -> None:
    """OpenCV's lens model; what the lens cannot see gets a depth that is not a number."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = rig.lens[c]
    pose, image = rig.pose[c], rig.image_from_lens[c]
    for j in range(size):
        px, py, pz = batch[0, j], batch[1, j], batch[2, j]
        depth = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * pz + pose[2, 3]
        x = (pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * pz + pose[0, 3]) / depth
        y = (pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * pz + pose[1, 3]) / depth
        s = x * x + y * y
        radial = (1 + s * (k1 + s * (k2 + s * k3))) / (1 + s * (k4 + s * (k5 + s * k6)))
        lx = x * radial + 2 * p1 * x * y + p2 * (s + 2 * x * x) + s * (s1 + s * s2)
        ly = y * radial + p1 * (s + 2 * y * y) + 2 * p2 * x * y + s * (s3 + s * s4)
        w = image[2, 0] * lx + image[2, 1] * ly + image[2, 2]
        batch[3, j] = (image[0, 0] * lx + image[0, 1] * ly + image[0, 2]) / w
        batch[4, j] = (image[1, 0] * lx + image[1, 1] * ly + image[1, 2]) / w
        batch[5, j] = depth if (s < rig.limit[c]) & (w > 0) else np.nan
