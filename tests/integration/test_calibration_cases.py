"""Real and made frames whose calibration is wrong, as users have them; sound ones are silent."""

import subprocess
import sys

import pytest

from labelgen.core.errors import UserError
from labelgen.datasets import plan_frames
from labelgen.datasets.checks import FrameInput, PlanInput, survey

WRONG = [
    ("inputs", "k-double", "manifest", True, "principal point at 319.5 of 320 px", "intrinsics"),
    ("inputs", "k-image-units", "manifest", True, "f = 0.62", "not in pixels"),
    ("inputs", "inverted", "manifest", False, "camera_from_lidar", "lies level in the LiDAR's frame"),
    ("inputs", "fisheye", "manifest", False, "fisheye", "k1 k2 p1 p2"),
    ("kitti_frame", "halved", "semantickitti", True, "609.6 of 621 px", "calib.txt"),
    ("kitti_frame", "identity", "semantickitti", True, "identity", "calib.txt"),
    ("nuscenes_frame", "distortion", "nuscenes", False, "camera_distortion", "not read"),
]
#: {script: (data set, points of the first camera)}; the street's script takes no case.
SOUND = {
    "street": ("manifest", 2244),
    "kitti_frame": ("semantickitti", 17182),
    "nuscenes_frame": ("nuscenes", 3053),
}


def build(cases, script, case, out):
    subprocess.run([sys.executable, cases / f"{script}.py", *case, out], check=True)
    return out


def sight_of(data_set, root):
    frames, info = plan_frames(data_set, root)
    return PlanInput(root, frames, info)


@pytest.mark.parametrize(("script", "case", "data_set", "stops", "words", "more"), WRONG)
def test_wrong_calibrations_are_told(shared_cases, tmp_path, script, case, data_set, stops, words, more):
    findings = survey(sight_of(data_set, build(shared_cases, script, [case], tmp_path / "out")))
    assert findings[0].refuse == stops
    assert any(words in str(one) and more in str(one) for one in findings)


def test_two_keyframes_are_refused(shared_cases, tmp_path):
    root = build(shared_cases, "nuscenes_frame", ["duplicate-keyframe"], tmp_path / "out")
    with pytest.raises(UserError, match="CAM_FRONT twice"):
        plan_frames("nuscenes", root)


@pytest.mark.parametrize("script", SOUND)
def test_sound_frames_are_silent(shared_cases, tmp_path, script):
    data_set, points = SOUND[script]
    case = [] if script == "street" else ["sound"]
    sight = sight_of(data_set, build(shared_cases, script, case, tmp_path / "out"))
    assert survey(sight) == []
    look = sight.frame_inputs[0]
    assert isinstance(look, FrameInput)
    assert len(range(*next(look.cameras())[1].indices(1 << 30))) == points


def test_a_lidar_of_other_axes_is_silent(shared_data):
    root = shared_data / "sustech-frames"
    assert survey(sight_of("manifest", root)) == []
