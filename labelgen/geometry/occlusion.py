"""Which points a camera cannot see because a nearer surface hides them.

The LiDAR stands above and between the cameras: it looks over things that stand in a camera's way, and the
points it finds behind them project onto them. What hides a point is a surface of which the LiDAR has only
samples, about 29 by 7 pixels apart in nuScenes. Two rules bridge the gaps:

- *Patches.* Every return stands for a patch of surface that faces the camera and reaches `PATCH_WIDTH` and
  `PATCH_HEIGHT` beam spacings to each side. A spacing is an angle; at range r it is r times as long, and in
  the image f / depth times that. The nearest patch over a point is the surface that it is measured against.
- *Level ground.* A return on a level surface hides nothing above it in the image: there the ground goes
  on, behind it. Level is what lies well below the camera and has, below it in the image, a nearer return
  at about the same height.

Where between two returns the nearer surface ends cannot be known: a point just beyond its last return is
hidden with a probability that falls from 1 to 0 over one spacing. The patches' size is where one draws the
line; theirs is the best trade of hidden points found for false alarms on simulated streets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.frame import Camera, parse_layout
from labelgen.geometry.projection import Projection
from labelgen.geometry.settings import DEFAULT, ProjectionSettings

#: Horizontal and vertical angle between neighbouring beams in degrees, by ``Frame.lidar_layout``: Velodyne
#: HDL-32E at 20 Hz (1084 firings a turn; 32 beams from -30.67 to 10.67), HDL-64E at 10 Hz.
BEAM_SPACING_DEG = {"nuscenes": (360.0 / 1084, 41.34 / 31), "kitti": (0.173, 0.42)}

#: Of layouts that do not say: as dense as those of common rotating LiDARs.
USUAL_SPACING_DEG = (0.2, 0.42)

PATCH_WIDTH = 1.0  #: to each side, in horizontal beam spacings
PATCH_HEIGHT = 0.76  #: to each side, in vertical beam spacings; below the spacing of ground rows in the image
LEVEL_SLOPE = 0.5  #: metres of height per metre of ground
LEVEL_REACH = 1.4  #: vertical beam spacings down to the next row of ground
LEVEL_BELOW = 0.9  #: metres below the camera

_UNKNOWN, _YES, _NO = 0, 1, 2


def beam_spacing(layout: str) -> tuple[float, float]:
    """Horizontal and vertical angle between neighbouring beams, degrees, of a ``Frame.lidar_layout``."""
    return BEAM_SPACING_DEG.get(layout) or parse_layout(layout).spacing_deg or USUAL_SPACING_DEG


def depth_residual(
    projection: Projection,
    xyz: NDArray[np.float32],
    cameras: Sequence[Camera],
    beam_spacing_deg: tuple[float, float] = BEAM_SPACING_DEG["nuscenes"],
) -> NDArray[np.float32]:
    """Metres that each view lies behind the nearest surface that covers it; 0 for what is in front.

    Residuals below 0.1 m or 1 % of the surface's depth are noise and given as 0.

    Args:
        projection: V views, sorted by camera.
        xyz: (N, 3) float32, metres, in the LiDAR frame, whose z axis points up.
        cameras: of the frame.
        beam_spacing_deg: horizontal and vertical angle between neighbouring beams.

    Returns:
        (V,) float32.
    """
    residual = np.zeros(len(projection.point), np.float32)
    across, along = (float(angle) for angle in np.radians(beam_spacing_deg))
    flat = np.ascontiguousarray(xyz, np.float32).reshape(-1)
    begins = np.searchsorted(projection.camera, np.arange(len(cameras) + 1, dtype=np.uint8))
    for c, camera in enumerate(cameras):
        rows = slice(begins[c], begins[c + 1])
        K, pose = camera.intrinsics, camera.camera_from_lidar
        lens = (K[0, 0], K[1, 1], K[0, 2])
        height = -float(pose[:3, 2] @ pose[:3, 3])  # of the camera's centre -R^T t, above the LiDAR
        _one_camera(
            projection.point[rows],
            projection.uv[rows],
            projection.depth[rows],
            flat,
            lens,
            height,
            (camera.width, camera.height),
            (across, along),
            residual[rows],
        )
    return residual


def is_visible(
    residual: NDArray[np.float32], depth: NDArray[np.float32], settings: ProjectionSettings = DEFAULT
) -> NDArray[np.bool_]:
    """(V,) bool: not farther behind a surface than the settings allow."""
    if not settings.occlusion:
        return np.ones(len(residual), np.bool_)
    return residual <= np.maximum(settings.max_residual, settings.max_residual_relative * depth)


@numba.njit(cache=True, error_model="numpy")
def _one_camera(
    point: NDArray[np.int32],
    uv: NDArray[np.float32],
    depth: NDArray[np.float32],
    flat: NDArray[np.float32],
    lens: tuple[float, float, float],
    height: float,
    size: tuple[int, int],
    spacing: tuple[float, float],
    residual: NDArray[np.float32],
) -> None:
    """Fill the residuals of one camera's views. ``lens`` is fx, fy, cx; ``height`` is above the LiDAR."""
    V = len(point)
    fx, fy, cx = lens
    across, along = spacing
    # Cells three times as wide as a patch reaches, and flat: those of a column lie one after another.
    cell_u, cell_v = max(3 * PATCH_WIDTH * fx * across, 2.0), max(PATCH_HEIGHT * fy * along / 8, 2.0)
    columns, rows = int(size[0] / cell_u) + 1, int(size[1] / cell_v) + 1
    first, order = _cells(uv, cell_u, cell_v, columns, rows)

    # In the order of the cells: u, v, depth, the gaps to the neighbours in pixels, and x, y, z.
    table = np.empty((V, 8), np.float32)
    one, most = np.float32(1), np.float32(100)
    unit_u, unit_v = np.float32(fx * across), np.float32(fy * along)
    middle, per_pixel = np.float32(cx), np.float32(1 / fx)
    for k in range(V):
        i = order[k]
        at = 3 * np.int64(point[i])
        x, y, z = flat[at], flat[at + 1], flat[at + 2]
        scale = np.sqrt(x * x + y * y + z * z) / depth[i]
        scale = scale if scale < most else most  # also where squares overflow
        slant = (uv[i, 0] - middle) * per_pixel
        table[k, 0], table[k, 1], table[k, 2] = uv[i, 0], uv[i, 1], depth[i]
        table[k, 3], table[k, 4] = unit_u * scale * np.sqrt(one + slant * slant), unit_v * scale
        table[k, 5], table[k, 6], table[k, 7] = x, y, z

    nearest = np.full(V, np.inf, np.float32)
    for q in range(V):
        u, v, d = table[q, 0], table[q, 1], table[q, 2]
        reach_u, reach_v = np.float32(PATCH_WIDTH) * table[q, 3], np.float32(PATCH_HEIGHT) * table[q, 4]
        behind = d + max(np.float32(0.1), np.float32(0.01) * d)  # spares most pairs on one surface
        level = _UNKNOWN if table[q, 7] < height - LEVEL_BELOW else _NO
        top, bottom = max(int((v - reach_v) / cell_v), 0), min(int((v + reach_v) / cell_v), rows - 1)
        left, right = max(int((u - reach_u) / cell_u), 0), min(int((u + reach_u) / cell_u), columns - 1)
        for column in range(left, right + 1):
            for p in range(first[column * rows + top], first[column * rows + bottom + 1]):
                du, dv = table[p, 0] - u, table[p, 1] - v
                if (table[p, 2] > behind) & (abs(du) <= reach_u) & (abs(dv) <= reach_v):
                    if dv <= 0 and level == _UNKNOWN:
                        level = _YES if _on_level(q, table, first, cell_u, cell_v, columns, rows) else _NO
                    if dv > 0 or level == _NO:
                        nearest[p] = min(nearest[p], d)
    for p in range(V):
        residual[order[p]] = max(table[p, 2] - nearest[p], np.float32(0))


@numba.njit(cache=True, error_model="numpy")
def _on_level(
    q: int,
    table: NDArray[np.float32],
    first: NDArray[np.int32],
    cell_u: float,
    cell_v: float,
    columns: int,
    rows: int,
) -> bool:
    """Whether a nearer return below in the image is at about the same height."""
    u, v, d, gap_u, gap_v = table[q, 0], table[q, 1], table[q, 2], table[q, 3], table[q, 4]
    top, bottom = min(int(v / cell_v), rows - 1), min(int((v + LEVEL_REACH * gap_v) / cell_v), rows - 1)
    left, right = max(int((u - gap_u) / cell_u), 0), min(int((u + gap_u) / cell_u), columns - 1)
    for column in range(left, right + 1):
        for p in range(first[column * rows + top], first[column * rows + bottom + 1]):
            down = (table[p, 1] - v) / gap_v
            if table[p, 2] < d and abs(table[p, 0] - u) <= gap_u and 0.2 < down <= LEVEL_REACH:
                dx, dy = table[p, 5] - table[q, 5], table[p, 6] - table[q, 6]
                if abs(table[p, 7] - table[q, 7]) < LEVEL_SLOPE * np.sqrt(dx * dx + dy * dy):
                    return True
    return False


@numba.njit(cache=True, error_model="numpy")
def _cells(
    uv: NDArray[np.float32], cell_u: float, cell_v: float, columns: int, rows: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Views by cell, column by column: (cells + 1,) where each cell begins, and (V,) the rows of views."""
    V = len(uv)
    cell = np.empty(V, np.int32)
    first = np.zeros(columns * rows + 1, np.int32)
    for i in range(V):
        column = min(max(int(uv[i, 0] / cell_u), 0), columns - 1)
        row = min(max(int(uv[i, 1] / cell_v), 0), rows - 1)
        cell[i] = column * rows + row
        first[cell[i] + 1] += 1
    for k in range(columns * rows):
        first[k + 1] += first[k]
    place = first.copy()
    order = np.empty(V, np.int32)
    for i in range(V):
        order[place[cell[i]]] = i
        place[cell[i]] += 1
    return first, order
