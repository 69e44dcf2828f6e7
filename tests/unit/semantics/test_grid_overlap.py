"""Pixels of masks per cell, against decoded masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.geometry.rle import encode
from labelgen.semantics.grid_overlap import cell_counts, cell_of, class_counts


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_counts_are_those_of_the_decoded_masks(height, width, h, w, seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, height, width)) < rng.random((3, 1, 1))
    got = cell_counts([encode(mask) for mask in masks], (height, width), (h, w))
    y, x = np.mgrid[:height, :width]
    # The cell whose edges the pixel's centre lies between, in floating point.
    cells = np.floor((y + 0.5) * h / height).astype(int) * w + np.floor((x + 0.5) * w / width).astype(int)
    for mask, counts in zip(masks, got, strict=True):
        np.testing.assert_array_equal(counts.ravel(), np.bincount(cells[mask], minlength=h * w))
    classes = rng.integers(0, 3, (h, w))
    by_class = class_counts([encode(mask) for mask in masks], (height, width), classes, 4)
    for mask, counts in zip(masks, by_class, strict=True):
        np.testing.assert_array_equal(counts, np.bincount(classes.ravel()[cells[mask]], minlength=4))


def test_no_masks_and_empty_masks():
    assert cell_counts([], (9, 16), (2, 3)).shape == (0, 2, 3)
    assert not cell_counts([encode(np.zeros((9, 16), bool))], (9, 16), (2, 3)).any()


def test_more_cells_than_pixels():
    np.testing.assert_array_equal(cell_of(2, 4), [1, 3])


def test_a_code_of_another_size_is_refused():
    with pytest.raises(ValueError, match="run-length code 0"):
        cell_counts([encode(np.ones((9, 16), bool))], (9, 17), (2, 3))
