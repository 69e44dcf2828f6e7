"""Rigid transforms against scipy's rotations, and against what is not rigid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from labelgen.datasets.transforms import find_not_rigid, invert_rigid, rigid, rotations_from_quaternions


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.5, 2))
def test_quaternions_are_those_of_scipy(seed, scale):
    rotation = Rotation.random(5, random_state=seed)
    wxyz = np.roll(rotation.as_quat(), 1, axis=1)
    np.testing.assert_allclose(rotations_from_quaternions(scale * wxyz), rotation.as_matrix(), atol=1e-14)


@given(seed=st.integers(0, 2**32 - 1))
def test_inverse_is_that_of_linear_algebra(seed):
    rng = np.random.default_rng(seed)
    transforms = rigid(Rotation.random(5, random_state=seed).as_matrix(), rng.normal(0, 1000, (5, 3)))
    np.testing.assert_allclose(invert_rigid(transforms), np.linalg.inv(transforms), atol=1e-9)
    assert find_not_rigid(transforms) is None
    assert find_not_rigid(transforms.astype(np.float32).astype(np.float64)) is None


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 1, -1, 1]),
        np.diag([1.01, 1, 1, 1]),
        np.diag([1.0, 1, 1, 2]),
        np.eye(4) + np.eye(4, k=1) * 0.01,
        np.full((4, 4), np.nan),
        np.full((4, 4), 1e300),
        np.diag([1.0, 1, 1, np.inf]),
    ],
)
def test_the_first_that_is_not_rigid_is_found(bad):
    assert find_not_rigid(np.stack([np.eye(4), np.eye(4), bad, bad])) == 2
