"""Regions of six images become one record."""

import numpy as np
import pytest

from labelgen.regions.base import ImageRegions
from labelgen.regions.frame import join_cameras


def some(count):
    return ImageRegions(
        size=(4, 4),
        box_xyxy=np.arange(count * 4, dtype=np.float32).reshape(count, 4),
        area=np.arange(count, dtype=np.int32),
        score=np.ones(count, np.float16),
        stability=np.ones(count, np.float16),
        rle=tuple(b"%d" % k for k in range(count)),
    )


def test_cameras_follow_each_other():
    joined = join_cameras([some(2), None, some(0), some(3)])
    np.testing.assert_array_equal(joined.camera, [0, 0, 3, 3, 3])
    np.testing.assert_array_equal(joined.area, [0, 1, 0, 1, 2])
    assert joined.rle == (b"0", b"1", b"0", b"1", b"2")
    assert joined.camera_slice(3) == slice(2, 5)


@pytest.mark.parametrize("images", [[], [None, None], [some(0)]])
def test_nothing(images):
    assert len(join_cameras(images)) == 0


def test_too_many_regions_are_refused():
    with pytest.raises(ValueError, match="65534 is the most"):
        join_cameras([some(40000), some(40000)])
