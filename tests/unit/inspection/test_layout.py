import dataclasses

import numpy as np
import pytest

from labelgen.inspection.layout import camera_rows, forward_direction, place_cameras
from tests.unit.inspection.scenes import camera

NUSCENES = {
    "CAM_FRONT": 0,
    "CAM_FRONT_RIGHT": -56,
    "CAM_BACK_RIGHT": -110,
    "CAM_BACK": 180,
    "CAM_BACK_LEFT": 109,
    "CAM_FRONT_LEFT": 55,
}


def cameras(yaws, **more):
    return tuple(camera(name, yaw, **more) for name, yaw in yaws.items())


def names(rig):
    return [[rig[k].name for k in row] for row in camera_rows(rig)]


@pytest.mark.parametrize("forward", ["x", "y"])
def test_six_cameras_stand_as_in_nuscenes(forward):
    assert names(cameras(NUSCENES, forward=forward)) == [
        ["CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"],
        ["CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"],
    ]


def test_the_order_in_the_data_set_does_not_matter():
    rig = cameras(NUSCENES)
    assert names(rig[::-1]) == names(rig)


def test_the_real_rig_stands_as_in_nuscenes(nuscenes_keyframe):
    rig = []
    for name in NUSCENES:
        with np.load(nuscenes_keyframe / "reference" / f"{name}.npz", allow_pickle=False) as stored:
            transform = stored["lidar2cam_float64"]
        rig.append(dataclasses.replace(camera(name, 0), camera_from_lidar=transform))
    assert forward_direction(rig).tolist() == [0, 1]
    assert names(rig) == names(cameras(NUSCENES))


def test_the_driving_direction_is_where_the_front_camera_looks():
    for forward, expected in (("x", [1, 0]), ("y", [0, 1])):
        assert forward_direction(cameras(NUSCENES, forward=forward)).tolist() == expected
        assert forward_direction(cameras({"left": 95, "front": 3}, forward=forward)).tolist() == expected
        assert forward_direction([camera("image_2", 0.4, forward=forward)]).tolist() == expected
    assert forward_direction([camera("only_back_view", 180, forward="x")]).tolist() == [-1, 0]
    assert forward_direction([]).tolist() == [1, 0]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 7, 12, 23])
@pytest.mark.parametrize("size", [(1600, 900), (1242, 375), (600, 800)])
@pytest.mark.parametrize("spread", [0, 360])
def test_panels_keep_their_aspect_and_do_not_overlap(count, size, spread):
    rig = [camera(f"c{k}", spread * k / max(count, 1), *size) for k in range(count)]
    width, gap = 1200, 6
    panels, height = place_cameras(rig, width, gap)
    assert sorted(panel.camera for panel in panels) == list(range(count))
    taken = np.zeros((height, width), int)
    for panel in panels:
        assert min(panel.x, panel.y) >= 0
        assert panel.x + panel.width <= width
        assert panel.y + panel.height <= height
        assert panel.width / panel.height == pytest.approx(size[0] / size[1], rel=0.02)
        taken[panel.y : panel.y + panel.height, panel.x : panel.x + panel.width] += 1
    assert taken.max(initial=0) <= 1
    assert max((panel.y + panel.height for panel in panels), default=0) == height
    if count:
        assert taken.any(axis=1).mean() > 0.9, "no empty rows"


def test_a_row_is_centred():
    rig = cameras({"front": 0, "back_left": 120, "back": 180, "back_right": 240})
    panels, _ = place_cameras(rig, 900, 0)
    top = next(panel for panel in panels if rig[panel.camera].name == "front")
    assert (top.x, top.width) == (300, 300)
