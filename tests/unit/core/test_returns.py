"""Which points are returns: what stands for "none" in files, and sound clouds in which all are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.frame import Camera, Frame, PointCloud
from labelgen.core.returns import returned
from labelgen.geometry import project


def street(rng, N):
    """Ground, walls at right angles to the view, and trees."""
    angle, far = rng.uniform(-np.pi, np.pi, N), rng.uniform(2, 100, N)
    xyz = np.c_[far * np.cos(angle), far * np.sin(angle), rng.uniform(-2, 6, N)]
    xyz[: N // 4, 0] = 40.0
    xyz[N // 4 : N // 3, :2] = np.array([60.0, 20.0]) + rng.normal(0, 1, (N // 3 - N // 4, 2))
    return xyz


def at_range(rng, N, value):
    ray = rng.normal(0, 1, (N, 3))
    return ray / np.linalg.norm(ray, axis=1, keepdims=True) * value


NONE = {
    "origin": lambda rng, n: np.zeros((n, 3)),
    "NaN": lambda rng, n: np.full((n, 3), np.nan),
    "one NaN": lambda rng, n: np.c_[rng.normal(0, 9, (n, 2)), np.full(n, np.nan)],
    "infinite": lambda rng, n: np.full((n, 3), np.inf),
    "offset of the beam": lambda rng, n: at_range(rng, n, 0.0277),
    "huge": lambda rng, n: np.full((n, 3), 1e30, np.float32),
    "largest": lambda rng, n: np.full((n, 3), np.finfo(np.float32).max),
    "65.535": lambda rng, n: np.full((n, 3), 65.535),
    "beyond all others": lambda rng, n: at_range(rng, n, 250.0),
    "amid the others": lambda rng, n: at_range(rng, n, 65.535),
}


@pytest.mark.parametrize("kind", NONE)
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([300, 5000]), st.floats(0.1, 0.9))
def test_what_stands_for_none_is_no_return(kind, seed, N, share):
    rng = np.random.default_rng(seed)
    xyz = street(rng, N)
    none = rng.random(N) < share
    xyz[none] = NONE[kind](rng, int(none.sum()))
    with np.errstate(over="ignore"):
        found = returned(xyz.astype(np.float32))
    assert not found[none].any()
    assert found[~none].mean() > 0.98  # chance puts a few at the same range


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20_000), st.sampled_from([None, 0.002, 0.01]))
def test_all_points_of_a_sound_cloud_are_returns(seed, N, step):
    """Also where a driver gives ranges in whole steps."""
    xyz = street(np.random.default_rng(seed), N)
    if step is not None:
        far = np.linalg.norm(xyz, axis=1, keepdims=True)
        xyz *= np.maximum(np.round(far / step), 1) * step / far
    assert returned(xyz.astype(np.float32)).all()


def test_repeated_near_points_are_returns():
    """A surface that is stored thousands of times is odd, and still there."""
    assert returned(np.repeat(np.float32([[6, 0.5, -1], [6, 0.6, -1.2]]), 3000, axis=0)).all()


def test_no_return_projects_nowhere_and_hides_nothing():
    """A camera behind the LiDAR would see (0, 0, 0) right before it."""
    pose = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 2.0], [0, 0, 0, 1]])
    camera = Camera("c", "c.png", 320, 180, np.array([[200, 0, 159.5], [0, 200, 89.5], [0, 0, 1.0]]), pose, 0)
    frame = Frame("f", "s", 0, 0, "f.bin", "kitti", np.eye(4), (camera,))
    wall = np.c_[np.full(400, 9.0), np.linspace(-3, 3, 400), np.zeros(400)].astype(np.float32)
    sound = project(frame, PointCloud(wall, np.zeros(400, np.float32)))
    mixed = np.concatenate([np.zeros((50, 3), np.float32), wall])
    cloud = PointCloud(mixed, np.zeros(450, np.float32))
    assert cloud.returned.tolist() == [False] * 50 + [True] * 400
    found = project(frame, cloud)
    np.testing.assert_array_equal(found.point, sound.point + 50)
    assert found.visible.all()
