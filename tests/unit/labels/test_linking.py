"""Parts of a cloud are those of the graph of all pairs, and are found without looking at all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from labelgen.labels.instances import lidar_view
from labelgen.labels.linking import grow, link, nearest
from labelgen.labels.settings import InstanceSettings

#: How points may lie, of a generator and their number.
SHAPES = {
    "street": lambda rng, n: rng.uniform([-25, -25, -2], [25, 25, 3], (n, 3)),
    "things": lambda rng, n: rng.uniform([5, -4, -1], [7, 4, 1], (n, 3)) + 3 * rng.integers(0, 3, (n, 1)),
    "ten places": lambda rng, n: rng.uniform(-9, 9, (10, 3))[rng.integers(0, 10, n)],
    "all equal": lambda rng, n: np.tile([5.0, 1.0, 0.0], (n, 1)),
    "line": lambda rng, n: np.linspace([3, 1, 0], [50, 1, 0], n),
    "beam": lambda rng, n: np.linspace(1, 100, n)[:, None] * [0.8, 0.5, 0.1],
    "voxel": lambda rng, n: rng.uniform([5, 1, 0], [5.1, 1.1, 0.1], (n, 3)),
    "wall": lambda rng, n: np.column_stack([np.full(n, 6.0), *rng.uniform(-3, 3, (2, n))]),
    "two heaps just apart": lambda rng, n: (
        rng.normal(0, 1e-3, (n, 3)) + [10, 0, 0] + rng.integers(0, 2, (n, 1)) * [0, 0.203, 0]
    ),
    "planes just apart": lambda rng, n: np.column_stack(
        [5 + 0.6 * rng.integers(0, 9, n), *rng.uniform(-1, 1, (2, n))]
    ),
    "grid": lambda rng, n: rng.integers(-8, 8, (n, 3)) * 0.25,
    "huge": lambda rng, n: rng.uniform(-1e38, 1e38, (n, 3)),
    "at the sensor": lambda rng, n: rng.normal(0, 1e-6, (n, 3)) * rng.integers(0, 2, (n, 1)),
}


def made(shape, n, seed, labels=1, owners=1, cameras=1):
    """A cloud with labels, owners and cameras at random; an owner is of one camera, and -1 of none."""
    rng = np.random.default_rng(seed)
    xyz = SHAPES[shape](rng, n).astype(np.float32).astype(np.float64)
    owner = rng.integers(-1, owners, n)
    camera = np.where(owner < 0, -1, owner % cameras)
    return lidar_view(xyz, InstanceSettings()), rng.integers(0, labels, n).astype(np.uint8), owner, camera


def linked(cloud, label, owner, camera):
    trees = grow(cloud, label.astype(np.int64) << 32 | (owner + 1))
    return (*link(cloud, trees, label, camera), trees)


def by_all_pairs(cloud, label, owner, camera):
    """Parts of the graph of all pairs."""

    def square(a):
        return sum((a[:, None, k] - a[None, :, k]) ** 2 for k in range(3))

    limit = cloud.gap + cloud.gap_relative * np.minimum(cloud.away[:, None], cloud.away[None])
    joined = (square(cloud.look) <= cloud.radius**2) & (np.sqrt(square(cloud.xyz)) <= limit)
    joined &= label[:, None] == label[None]
    joined &= (owner[:, None] == owner[None]) | (camera[:, None] != camera[None])
    return connected_components(joined, directed=False)[1]


def named(part):
    """Parts by the order of their first points, so that two numberings can be compared."""
    _, first, back = np.unique(part, return_index=True, return_inverse=True)
    return first[back]


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 80),
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.sampled_from([1, 2, 40]),
    st.integers(1, 3),
)
def test_parts_are_those_of_all_pairs(shape, n, seed, labels, owners, cameras):
    arguments = made(shape, n, seed, labels, owners, cameras)
    part, _, _ = linked(*arguments)
    np.testing.assert_array_equal(named(part), named(by_all_pairs(*arguments)))


@settings(max_examples=60)
@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_the_nearest_is_the_nearest(shape, n, seed):
    cloud, label, owner, _ = made(shape, n, seed, 2, 3)
    trees = grow(cloud, label.astype(np.int64) << 32 | (owner + 1))
    rng = np.random.default_rng(seed)
    ask, among = rng.random(n) < 0.5, rng.random(n) < 0.3
    reach = np.where(rng.random(n) < 0.5, np.inf, rng.uniform(0, 10, n))
    found, away = nearest(cloud, trees, ask, among, reach)
    same = (label[:, None] == label) & (owner[:, None] == owner)
    metres = np.where(same & among, np.linalg.norm(cloud.xyz[:, None] - cloud.xyz, axis=2), np.inf)
    expected = np.where(ask, metres.min(axis=1), np.inf)
    within = expected <= reach
    np.testing.assert_array_equal(away[within], expected[within])
    assert (away[~within] > reach[~within]).all()
    hit = within & np.isfinite(expected)
    np.testing.assert_array_equal(metres[hit, found[hit]], expected[hit])


@pytest.mark.parametrize(("owners", "cameras"), [(1, 1), (600, 6)])
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_clouds_take_no_more_looks_than_points(shape, owners, cameras):
    """All pairs of 20,000 points would be 10,000 for each."""
    cloud, label, owner, camera = made(shape, 20_000, 0, 1, owners, cameras)
    part, looks, trees = linked(cloud, label, owner, camera)
    assert len(part) == 20_000
    assert len(trees.begin) <= 20_000
    assert looks <= 500 * 20_000
