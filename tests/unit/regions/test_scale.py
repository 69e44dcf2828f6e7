"""Reduced images, and which of their pixels lies under a pixel."""

import numpy as np
import pytest

from labelgen.regions.scale import reduce_image, source_index


def test_source_index_lies_under_the_centre():
    np.testing.assert_array_equal(source_index(2, 5), [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(source_index(5, 2), [1, 3])


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [((90, 160), 80, (45, 80)), ((160, 90), 80, (80, 45)), ((50, 60), 80, (50, 60)), ((1, 900), 90, (1, 90))],
)
def test_reduced_sizes(size, limit, expected):
    assert reduce_image(np.zeros((*size, 3), np.uint8), limit).shape == (*expected, 3)
