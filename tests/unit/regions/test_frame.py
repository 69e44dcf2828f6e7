"""Regions of six images become one record."""

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.records import Views
from labelgen.regions.base import ImageRegions
from labelgen.regions.frame import frame_prompts, join_cameras


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


def test_parents_are_rows_of_the_frame():
    first, second = some(3), replace(some(2), parent=np.array([1, -1], np.int32))
    joined = join_cameras([first, None, second])
    np.testing.assert_array_equal(joined.parent, [-1, -1, -1, 4, -1])


def test_a_camera_gets_the_points_that_it_sees():
    views = Views(
        point=np.array([0, 1, 2, 0, 3], np.int32),
        camera=np.array([0, 0, 0, 2, 2], np.uint8),
        uv=np.arange(10, dtype=np.float32).reshape(5, 2),
        depth=np.arange(5, dtype=np.float32),
        depth_residual=np.zeros(5, np.float32),
        visible=np.array([True, False, True, True, False]),
    )
    front, none, back = frame_prompts(views, ["a.jpg", "b.jpg", "c.jpg"])
    np.testing.assert_array_equal(front.uv, [[0, 1], [4, 5]])
    np.testing.assert_array_equal(front.depth, [0, 2])
    assert (len(none.uv), none.image_path) == (0, "b.jpg")
    np.testing.assert_array_equal(back.depth, [3])


@pytest.mark.parametrize("images", [[], [None, None], [some(0)]])
def test_nothing(images):
    assert len(join_cameras(images)) == 0


def test_too_many_regions_are_refused():
    with pytest.raises(ValueError, match="the maximum is 65534"):
        join_cameras([some(40000), some(40000)])
