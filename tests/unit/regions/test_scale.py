"""Run-length scaling against the dense computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelgen.regions.scale import reduce_image, scale_runs, source_index


def runs_of(mask):
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(np.int8)))
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds).astype(np.int64)
    return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts


def dense(counts, size):
    values = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    return values.reshape(size, order="F")


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(deadline=None, max_examples=300)
@given(mask=sizes.flatmap(lambda s: arrays(bool, s)), new_size=sizes)
def test_equals_dense_nearest_neighbour(mask, new_size):
    h, w = mask.shape
    H, W = new_size
    rows = np.floor((np.arange(H) + 0.5) * h / H).astype(int)
    columns = np.floor((np.arange(W) + 0.5) * w / W).astype(int)
    expected = mask[rows[:, None], columns]
    counts = scale_runs(runs_of(mask), (h, w), new_size)
    assert counts.sum() == H * W
    np.testing.assert_array_equal(dense(counts, new_size), expected)
    assert (counts[1:] > 0).all(), "runs other than the first are never empty"


def test_source_index_lies_under_the_centre():
    np.testing.assert_array_equal(source_index(2, 5), [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(source_index(5, 2), [1, 3])


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [((90, 160), 80, (45, 80)), ((160, 90), 80, (80, 45)), ((50, 60), 80, (50, 60)), ((1, 900), 90, (1, 90))],
)
def test_reduced_sizes(size, limit, expected):
    assert reduce_image(np.zeros((*size, 3), np.uint8), limit).shape == (*expected, 3)
