"""The voxel map against a dictionary, its decay, free space and bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.labels.voxels import VoxelMap


class Plain:
    """The same map as a dictionary."""

    def __init__(self, size):
        self.size, self.cells = size, {}

    def cell(self, point):
        return tuple(np.floor(np.asarray(point) / self.size).astype(int))

    def add(self, points, evidence):
        groups = {}
        for point, said in zip(points, evidence, strict=True):
            if said.sum() > 0:
                groups.setdefault(self.cell(point), []).append(said)
        for cell, said in groups.items():
            self.cells[cell] = self.cells.get(cell, 0) + np.mean(said, axis=0)

    def read(self, point):
        x, y, z = self.cell(point)
        if (x, y, z) in self.cells:
            return self.cells[x, y, z]
        around = [(x + i, y + j, z + k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
        return sum((self.cells[cell] for cell in around if cell in self.cells), np.zeros(3))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_a_dictionary(seed):
    rng = np.random.default_rng(seed)
    ours, plain = VoxelMap(0.5, 3, 10**6), Plain(0.5)
    for _ in range(4):
        points = rng.uniform(-3, 3, (60, 3))
        evidence = rng.random((60, 3)).astype(np.float32)
        evidence[rng.random(60) < 0.2] = 0
        ours.add(points, evidence)
        plain.add(points, evidence)
        if rng.random() < 0.5:
            ours.decay(0.25)
            plain.cells = {cell: 0.25 * counts for cell, counts in plain.cells.items()}
        if rng.random() < 0.3:
            ours.forget(np.zeros(3), 3.0)
            centre = {cell: (np.array(cell) + 0.5) * 0.5 for cell in plain.cells}
            plain.cells = {c: v for c, v in plain.cells.items() if np.linalg.norm(centre[c]) <= 3.0}
        assert len(ours) == len(plain.cells)
    ask = rng.uniform(-4, 4, (80, 3))
    np.testing.assert_allclose(ours.read(ask, around=True), [plain.read(p) for p in ask], atol=1e-5)


def test_all_points_in_one_voxel_are_one_look():
    one = VoxelMap(1.0, 2, 100)
    one.add(np.full((500, 3), 0.3), np.tile(np.array([[0.9, 0.1]], np.float32), (500, 1)))
    assert len(one) == 1
    np.testing.assert_allclose(one.read(np.full((1, 3), 0.9), around=False), [[0.9, 0.1]], atol=1e-4)


def test_what_it_cannot_hold_is_passed_over():
    one = VoxelMap(0.25, 2, 100)
    points = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [1e9, 0, 0], [0, 0, 0]])
    one.add(points, np.ones((4, 2), np.float32))
    assert len(one) == 1
    assert one.read(points, around=True).sum(1).tolist() == [0, 0, 0, 2]
    assert VoxelMap(0.25, 2, 100).read(points, around=True).sum() == 0


def test_decay_never_runs_out_of_digits():
    one = VoxelMap(1.0, 1, 100)
    for _ in range(200):
        one.decay(0.5)
        one.add(np.zeros((1, 3)), np.ones((1, 1), np.float32))
    assert one.read(np.zeros((1, 3)), around=False)[0, 0] == pytest.approx(2.0, rel=1e-4)


def test_memory_is_bounded_and_rows_are_reused():
    one = VoxelMap(0.5, 17, 3000)
    rng = np.random.default_rng(0)
    sizes = []
    for step in range(60):
        centre = np.array([10.0 * step, 0, 0])
        one.add(centre + rng.uniform(-20, 20, (2000, 3)), np.ones((2000, 17), np.float32))
        one.forget(centre, 25.0)
        assert len(one) <= 3000
        assert np.linalg.norm(one.centres() - centre, axis=1).max() <= 25.0
        sizes.append(one.nbytes)
    assert max(sizes[30:]) <= max(sizes[:30]) * 1.01


def wall(distance):
    """A sweep that sees a wall all around."""
    turn, rise = np.meshgrid(np.radians(np.arange(-180, 180, 0.33)), np.radians(np.arange(-15, 15, 1.0)))
    turn, rise = turn.ravel(), rise.ravel()
    ray = np.stack([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)], 1)
    return (distance * ray).astype(np.float32)


def test_what_is_seen_through_goes_and_the_rest_stays():
    one = VoxelMap(0.25, 1, 1000)
    here = np.array([[8.0, 0, 0], [0, 8, 0], [-19.9, 0.1, 0], [25, 0, 0], [8, 0, 6.0], [-8, 0, -0.1]])
    one.add(here, np.ones((6, 1), np.float32))
    sweep = wall(20.0)
    # On the one side something stands close by; the sweep cannot look behind it.
    close = (np.abs(sweep[:, 1]) < 1.0) & (sweep[:, 0] < 0)
    sweep[close] *= 0.2
    gone = one.clear(np.eye(4), sweep, (1.0, 2.0), 40.0, 0.5)
    left = one.read(here, around=False)[:, 0] > 0
    assert gone == 2
    # Free space in front and to the left; the wall; behind it; above the beams; behind what is close.
    assert left.tolist() == [False, False, True, True, True, True]
    assert one.clear(np.eye(4), sweep, (1.0, 2.0), 5.0, 0.5) == 0


def test_the_pose_is_used():
    one = VoxelMap(0.25, 1, 1000)
    one.add(np.array([[108.0, 50, 0]]), np.ones((1, 1), np.float32))
    lidar_from_map = np.eye(4)
    lidar_from_map[:3, 3] = [-100, -50, 0]
    assert one.clear(np.eye(4), wall(20.0), (1.0, 2.0), 300.0, 0.5) == 0
    assert one.clear(lidar_from_map, wall(20.0), (1.0, 2.0), 30.0, 0.5) == 1
