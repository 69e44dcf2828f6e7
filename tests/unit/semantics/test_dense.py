"""Maps read at pixels: where cells lie, against scipy's interpolation."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from labelgen.semantics.dense import DenseMap
from labelgen.semantics.prompts import normalise


@pytest.fixture
def dense():
    cells = normalise(np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32))
    return DenseMap(cells, (90, 200))


def test_a_cells_centre_has_its_feature(dense):
    centres = np.array([[(j + 0.5) * 40 - 0.5, (i + 0.5) * 30 - 0.5] for i in range(3) for j in range(5)])
    np.testing.assert_allclose(dense.at(centres), dense.feature.reshape(-1, 4), atol=1e-6)


def test_between_centres_it_is_bilinear(dense):
    uv = np.random.default_rng(1).uniform(0, [199, 89], (50, 2)).astype(np.float32)
    at = np.stack([(uv[:, 1] + 0.5) / 30 - 0.5, (uv[:, 0] + 0.5) / 40 - 0.5])
    want = np.stack(
        [map_coordinates(dense.feature[..., d], at, order=1, mode="nearest") for d in range(4)], 1
    )
    np.testing.assert_allclose(dense.at(uv), normalise(want), atol=1e-4)


def test_the_edge_has_the_outermost_cells(dense):
    corners = np.array([[0, 0], [199, 0], [199, 89], [-50, 1000]], np.float32)
    want = dense.feature[[0, 0, 2, 2], [0, 4, 4, 0]]
    np.testing.assert_allclose(dense.at(corners), want, atol=1e-6)


def test_no_points_and_one_cell():
    dense = DenseMap(np.ones((1, 1, 4), np.float16) / 2, (7, 9))
    assert dense.at(np.zeros((0, 2), np.float32)).shape == (0, 4)
    np.testing.assert_allclose(dense.at(np.array([[8, 6], [0, 0]])), np.full((2, 4), 0.5), atol=1e-3)


@pytest.mark.parametrize(("shape", "size"), [((3, 4), (9, 9)), ((0, 3, 4), (9, 9)), ((2, 3, 4), (0, 9))])
def test_what_is_no_grid_is_refused(shape, size):
    with pytest.raises(ValueError, match="not a grid"):
        DenseMap(np.ones(shape, np.float16), size)
