"""Label maps on disk: row of the smallest region under every pixel."""

import numpy as np
from PIL import Image

from labelgen.core.frame import Camera
from labelgen.core.records import Regions
from labelgen.geometry.rle import encode
from labelgen.regions.labelmap import write_label_maps


def camera(name):
    return Camera(name, f"{name}.jpg", 30, 20, np.eye(3), np.eye(4), 0)


def test_rows_are_those_of_the_frame(tmp_path):
    large, small = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    large[2:, 3:], small[5:9, 6:20] = True, True
    other = np.ones((20, 30), bool)
    regions = Regions(
        camera=np.array([0, 0, 2], np.uint8),
        box_xyxy=np.zeros((3, 4), np.float32),
        area=np.array([large.sum(), small.sum(), 600], np.int32),
        score=np.ones(3, np.float16),
        stability=np.ones(3, np.float16),
        rle=(encode(small), encode(large), encode(other)),
    )
    write_label_maps(tmp_path / "frame", regions, [camera("A"), camera("B"), camera("C")])
    a, b, c = (np.array(Image.open(tmp_path / "frame" / f"{name}.png")) for name in "ABC")
    assert a.dtype == np.uint16
    np.testing.assert_array_equal(a, np.select([small, large], [0, 1], 65535))
    assert (b == 65535).all()
    assert (c == 2).all()
    assert len(list((tmp_path / "frame").iterdir())) == 3, "nothing half written is left"
