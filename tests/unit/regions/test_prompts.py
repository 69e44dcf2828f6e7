"""Thinning of LiDAR points: within the number, and on every surface."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import build_point_grid

from labelgen.regions.prompts import CELLS, grid, thin


@pytest.mark.parametrize("side", [1, 2, 7, 32])
def test_grid_is_the_official_one(side):
    np.testing.assert_allclose(grid(side), build_point_grid(side), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), points=st.integers(0, 400), number=st.integers(0, 60))
def test_never_more_than_asked_and_never_twice(seed, points, number):
    rng = np.random.default_rng(seed)
    uv = rng.uniform(0, 1, (points, 2)).astype(np.float32) * np.float32([1600, 900])
    depth = rng.uniform(1, 60, points).astype(np.float32)
    rows = thin(uv, depth, number, side=1600, jump=0.15)
    assert len(rows) <= number
    assert len(np.unique(rows)) == len(rows)
    if points and number:
        assert len(rows) > 0
        assert rows.min() >= 0
        assert rows.max() < points
    if points <= number and points:
        cells = set(map(tuple, (uv // (CELLS[0] * 1600)).astype(int).tolist()))
        assert cells == set(map(tuple, (uv[rows] // (CELLS[0] * 1600)).astype(int).tolist()))


def test_every_surface_of_a_cell_gets_a_prompt():
    """A pole before a house before a hill, all within a few pixels, and a wide road."""
    rng = np.random.default_rng(1)
    pole, house, hill = (np.full(9, z) * rng.uniform(0.99, 1.01, 9) for z in (8.0, 20.0, 55.0))
    road = np.linspace(4.0, 6.0, 300)
    uv = np.concatenate([rng.uniform(800, 806, (27, 2)), rng.uniform([0, 700], [1600, 900], (300, 2))])
    depth = np.concatenate([pole, house, hill, road])
    rows = thin(uv.astype(np.float32), depth.astype(np.float32), 20, side=1600, jump=0.15)
    for begin in (0, 9, 18):
        assert ((rows >= begin) & (rows < begin + 9)).sum() >= 1
    assert (rows >= 27).sum() >= 3


def test_a_prompt_lies_in_the_middle_of_its_surface():
    x, y = np.meshgrid(np.arange(11.0), np.arange(11.0))
    uv = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32) + 100
    rows = thin(uv, np.full(121, 5, np.float32), 1, side=400, jump=0.15)
    np.testing.assert_array_equal(uv[rows], [[105, 105]])


def test_where_surfaces_are_too_many_the_largest_count():
    depth = np.repeat(np.float32(2.0) ** np.arange(6), [1, 5, 2, 9, 1, 3])
    uv = np.full((len(depth), 2), 10, np.float32)
    rows = thin(uv, depth, 2, side=100, jump=0.15)
    np.testing.assert_array_equal(np.sort(depth[rows]), [2, 8])
