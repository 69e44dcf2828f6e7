"""Where views crowd, the depth test gives what asking every pair gives, and does not ask every pair."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.geometry import ProjectionSettings, occlusion
from labelgen.geometry.kdorder import kd_order
from labelgen.geometry.occlusion import BEAM_SPACING_DEG, depth_residual
from labelgen.geometry.occlusion_blocks import crowd_order, nearest_in_crowds
from labelgen.geometry.patches import LEVEL_BELOW, cells
from labelgen.geometry.projection import project_points
from tests.helpers.geometry import looking_forward, make_camera

CAMERA = make_camera(1600, 900, 1266.0, looking_forward(0, 0.75, -0.33))
HEAPS = np.array([[0, 10, -1.8], [0, 10, -1.6], [0, 11, -1.5], [0.06, 12, -1.4]])


def ground(rng, n):
    return np.column_stack([rng.uniform(-9, 9, n), rng.uniform(3, 40, n), rng.normal(-1.84, 0.02, n)])


def wall(rng, n, y):
    return np.column_stack([rng.uniform(-4, 4, n), rng.normal(y, 0.02, n), rng.uniform(-1.8, 2, n)])


#: How points may lie, of a generator and their number.
SHAPES = {
    "street": lambda rng, n: np.concatenate([ground(rng, n - n // 2), wall(rng, n // 2, 25)]),
    "two walls": lambda rng, n: np.concatenate([wall(rng, n - n // 2, 15), wall(rng, n // 2, 10)]),
    "ten places": lambda rng, n: np.tile(ground(rng, 10), (n, 1))[:n],
    "all equal": lambda rng, n: np.tile([0, 10, -1.0], (n, 1)),
    "voxel": lambda rng, n: rng.uniform([0, 10, -1.85], [0.1, 10.5, -1.75], (n, 3)),
    "pixel": lambda rng, n: rng.uniform(1, 50, (n, 1)) * [1e-5, 1, -0.1] + rng.normal(0, 1e-5, (n, 3)),
    "line": lambda rng, n: np.linspace([-1, 3, -1.84], [1, 50, -1.84], n),
    "beam": lambda rng, n: np.linspace(1, 50, n)[:, None] * [0, 0.99, -0.1] + [0, 0.75, -0.33],
    "curtain": lambda rng, n: rng.uniform([-0.3, 8, -1.8], [0.3, 20, -1], (n, 3)),
    "heaps": lambda rng, n: rng.normal(0, 1e-3, (n, 3)) + HEAPS[rng.integers(0, len(HEAPS), n)],
    "at the camera": lambda rng, n: rng.uniform([-0.2, 0.75, -0.5], [0.2, 1.0, -0.2], (n, 3)),
    "huge": lambda rng, n: rng.uniform([-1e37, 1, -1e37], [1e37, 1e38, 1e37], (n, 3)),
}


def projected(shape, n, seed):
    xyz = SHAPES[shape](np.random.default_rng(seed), n).astype(np.float32)
    return project_points(xyz, [CAMERA], ProjectionSettings(min_depth=0.0)), xyz


def by_all_pairs(found, xyz):
    """Residuals from the rules of `labelgen.geometry.occlusion`, of every view against every other."""
    one = np.float32
    (u, v), d = found.uv.T, found.depth
    x, y, z = xyz[found.point].T
    K, pose = CAMERA.intrinsics, CAMERA.camera_from_lidar
    across, along = np.radians(BEAM_SPACING_DEG["nuscenes"])
    with np.errstate(over="ignore"):
        scale = np.minimum(np.sqrt(x * x + y * y + z * z) / d, one(100))
    slant = (u - one(K[0, 2])) * one(1 / K[0, 0])
    gap_u = one(K[0, 0] * across) * scale * np.sqrt(one(1) + slant * slant)
    gap_v = one(K[1, 1] * along) * scale
    # Rows are patches, columns are what they may hide.
    du, dv, dz = u - u[:, None], v - v[:, None], z - z[:, None]
    with np.errstate(over="ignore"):
        flat = np.sqrt((x - x[:, None]) ** 2 + (y - y[:, None]) ** 2)
    down = dv / gap_v[:, None]
    beside = (np.abs(du) <= gap_u[:, None]) & (down > 0.2) & (down <= 1.4)
    same_height = np.abs(dz) < 0.5 * flat.astype(np.float64)
    low = z < -float(pose[:3, 2] @ pose[:3, 3]) - 0.9
    level = low & (beside & same_height & (d < d[:, None])).any(axis=1)
    behind = d > (d + np.maximum(one(0.1), one(0.01) * d))[:, None]
    covered = (np.abs(du) <= gap_u[:, None]) & (np.abs(dv) <= one(0.76) * gap_v[:, None])
    hides = behind & covered & ((dv > 0) | ~level[:, None])
    nearest = np.where(hides, d[:, None], np.inf).min(axis=0, initial=np.inf)
    return np.maximum(d - nearest, 0).astype(np.float32)


@settings(max_examples=150)
@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_equal_to_asking_every_pair(shape, n, seed):
    found, xyz = projected(shape, n, seed)
    residual = depth_residual(found, xyz, [CAMERA])
    np.testing.assert_array_equal(residual, by_all_pairs(found, xyz))


def tabled(found, xyz, crowded):
    """What `labelgen.geometry.occlusion` makes of one camera's views before it looks for what hides them."""
    lens, pose = CAMERA.intrinsics, CAMERA.camera_from_lidar
    gaps = np.radians(BEAM_SPACING_DEG["nuscenes"]) * [lens[0, 0], lens[1, 1]]
    grid, order = cells(found.uv, *gaps, (CAMERA.width, CAMERA.height))
    if crowded:
        order = crowd_order(found.uv, found.depth, *gaps)
    focal = (lens[0, 0], lens[1, 1], lens[0, 2])
    table = occlusion._table(found.point, found.uv, found.depth, xyz.reshape(-1), focal, *gaps, order)
    return order, table, grid, -float(pose[:3, 2] @ pose[:3, 3]) - LEVEL_BELOW


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_asking_all_that_are_near(shape):
    """Thousands of views, so that blocks of blocks are passed over and taken whole."""
    found, xyz = projected(shape, 5000, 0)
    order, table, grid, ground = tabled(found, xyz, crowded=False)
    expected = np.empty(len(table), np.float32)
    expected[order] = np.maximum(table[:, 2] - occlusion._nearest(table, grid, ground), 0)
    order, table, _, ground = tabled(found, xyz, crowded=True)
    residual = np.empty(len(table), np.float32)
    residual[order] = np.maximum(table[:, 2] - nearest_in_crowds(table, ground)[0], 0)
    np.testing.assert_array_equal(residual, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_crowds_are_not_asked_one_by_one(shape):
    """Under each patch lie up to 30,000 views."""
    _, table, _, ground = tabled(*projected(shape, 30_000, 0), crowded=True)
    _, asked = nearest_in_crowds(table, ground)
    assert asked <= 1000 * len(table)


@pytest.mark.parametrize("axes", [1, 3])
def test_halves_of_the_order_are_apart(axes):
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(1000, axes)), 1).astype(np.float32)
    before, order = x.copy(), np.arange(1000, dtype=np.int32)
    begins = np.array([0, 300, 300, 1000])
    kd_order(x, order, begins, 4)
    np.testing.assert_array_equal(x, before[order])

    def check(begin, end):
        if end - begin <= 4:
            return
        middle = (begin + end) // 2
        longest = np.argmax(np.ptp(x[begin:end], axis=0))
        assert x[begin:middle, longest].max() <= x[middle:end, longest].min()
        check(begin, middle)
        check(middle, end)

    for begin, end in pairwise(begins):
        assert set(order[begin:end]) == set(range(begin, end))
        check(begin, end)
