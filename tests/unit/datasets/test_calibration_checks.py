"""Checks of calibrations: silent on real and on random rigs, and right about what was done to one."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from labelgen.datasets.checks import PlanInput, check_plan
from labelgen.datasets.info import DatasetInfo
from tests.helpers.calibrated import camera, found, frame, intrinsics, mounted

#: Published calibrations: width, height, fx, fy, cx, cy and distortion.
RIGS = {
    "nuScenes CAM_FRONT": (1600, 900, 1266.417, 1266.417, 816.267, 491.507),
    "nuScenes CAM_BACK": (1600, 900, 809.221, 809.221, 829.220, 481.778),
    "nuScenes CAM_FRONT, 704 x 256 cut at the top": (704, 256, 557.22, 557.22, 358.96, 76.04),
    "KITTI": (1242, 375, 721.5377, 721.5377, 609.5593, 172.854),
    "KITTI odometry 00": (1241, 376, 718.856, 718.856, 607.1928, 185.2157),
    "KITTI raw": (1392, 512, 959.791, 956.9251, 696.0217, 224.1806,
                  (-0.3691481, 0.1968681, 1.353473e-3, 5.677587e-4, -0.06770705)),
    "KITTI-360": (1408, 376, 552.554261, 552.554261, 682.049453, 238.769549),
    "Waymo FRONT": (1920, 1280, 2055.556, 2055.556, 939.657, 641.072),
    "Waymo FRONT cut at the top, as the sides": (1920, 886, 2055.556, 2055.556, 939.657, 247.072),
    "Waymo FRONT cut below, as the sides": (1920, 886, 2055.556, 2055.556, 939.657, 641.072),
    "PandaSet front": (1920, 1080, 1970.0131, 1970.0091, 970.0002, 483.2988,
                       (-0.5894, 0.66, 0.0011, -0.001, -1.0088)),
    "PandaSet back": (1920, 1080, 933.4667, 934.6754, 896.4692, 507.3557),
    "A2D2 front": (1920, 1208, 1687.337, 1783.428, 965.434, 684.419),
    "RELLIS-3D": (1920, 1200, 2813.644, 2808.326, 969.286, 624.050,
                  (-0.134313, -0.025905, 0.002181, 0.00084, 0)),
    "EuRoC": (752, 480, 458.654, 457.296, 367.215, 248.375, (-0.28340811, 0.07395907, 0.000194, 1.76e-05)),
    "TUM freiburg1": (640, 480, 517.3, 516.5, 318.6, 255.3, (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "Orbbec": (1920, 1080, 1124.38, 1123.93, 951.31, 543.694, (0.0760687, -0.104411, 1.57e-4, -1.4e-5)),
    "portrait": (1550, 2048, 1685.0, 1685.0, 777.0, 1018.0),
    "tele, 20 degrees": (3840, 2160, 10890.0, 10890.0, 1921.0, 1090.0),
    "simulated, 120 degrees": (1280, 720, 369.5, 369.5, 639.5, 359.5),
    "wide, with a lens": (1280, 720, 448.0, 448.0, 640.0, 360.0, (-0.3, 0.08, 1e-4, -2e-4)),
    "rational": (1920, 1208, 1000.0, 1000.0, 962.0, 601.0, (8.1, 4.0, 1e-4, 2e-5, 0.2, 8.5, 6.1, 1.1)),
}  # fmt: skip

#: Where cameras are: yaw, pitch, roll in degrees, and metres from the LiDAR.
MOUNTS = {
    "front": (0, 0, 0, (1.7, 0, -0.3)),
    "left": (90, -3, 1, (1.0, 0.5, -0.3)),
    "right": (-90, 2, -1, (1.0, -0.5, -0.3)),
    "back": (180, 0, 0, (-1.0, 0, -0.2)),
    "tilted down": (30, -30, 0, (1.5, 0, 0)),
    "tilted up": (0, 30, 3, (1.5, 0, 0)),
    "truck": (5, -10, 0, (6.0, 1.2, -1.5)),
}
SIZES = [(1600, 900), (1920, 1080), (1242, 375), (1920, 886), (1550, 2048), (640, 480), (320, 180)]
#: Turns a pose of x right, y down, z ahead into one of x ahead, y left, z up.
BODY_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
Z_TO_Y = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("name", RIGS)
def test_real_rigs_are_silent(name):
    width, height, fx, fy, cx, cy, *bent = RIGS[name]
    distortion = np.array(bent[0]) if bent else None
    for yaw, pitch, roll, at in MOUNTS.values():
        pose = mounted(yaw, pitch, roll, at)
        one = camera(intrinsics(fx, fy, cx, cy), (width, height), pose, distortion=distortion)
        assert found(frame([one])) == {}


@st.composite
def rigs(draw, least_yaw=-180.0):
    """A plausible camera: its size, intrinsics, and camera_from_lidar."""
    width, height = draw(st.sampled_from(SIZES))
    f = width / 2 / np.tan(np.radians(draw(st.floats(20, 118))) / 2)
    K = intrinsics(
        f,
        f * draw(st.floats(0.95, 1.05)),
        width * draw(st.floats(0.45, 0.55)),
        height * draw(st.floats(0.4, 0.6)),
    )
    at = (draw(st.floats(-2, 4)), draw(st.floats(-1.3, 1.3)), draw(st.floats(-1.5, 0.5)))
    return (
        K,
        (width, height),
        mounted(draw(st.floats(least_yaw, 180)), draw(st.floats(-30, 30)), draw(st.floats(-8, 8)), at),
    )


@given(rigs())
@settings(max_examples=200)
def test_plausible_rigs_are_silent(rig):
    assert found(frame([camera(*rig)])) == {}


def factor_near(wanted):
    """Whether the text names a factor within 15 % of that one."""
    return lambda text: (
        abs(float(re.search(r"factor (?:about )?([\d.]+)", text).group(1)) / wanted - 1) < 0.15
    )


def says(*words):
    return lambda text: any(word in text for word in words)


def times(x, y):
    return lambda K, width, height: np.diag([x, y, 1]) @ K


#: {what is done to K: (how, what is said then)}; all of them are always found.
SPOILED_K = {
    "of an image half as large": (times(0.5, 0.5), factor_near(0.5)),
    "of an image twice as large": (times(2, 2), factor_near(2)),
    "of a quarter": (times(0.25, 0.25), factor_near(0.25)),
    "of an image four times as large": (times(4, 4), factor_near(4)),
    "of the unit square": (lambda K, w, h: np.diag([1 / w, 1 / h, 1]) @ K, says("units of the image")),
    "in millimetres": (times(0.003, 0.003), says("millimetres", "units of the image")),
    "in metres": (times(3e-6, 3e-6), says("metres")),
    "from -1 to 1": (
        lambda K, w, h: np.diag([2 / w, 2 / h, 1]) @ (K - [[0, 0, w / 2], [0, 0, h / 2], [0, 0, 0]]),
        says("-1 to 1"),
    ),
    "measured from the centre": (
        lambda K, w, h: K - [[0, 0, w / 2], [0, 0, h / 2], [0, 0, 0]],
        says("image's centre", "do not fit"),
    ),
    "not given": (lambda K, w, h: np.eye(3), says("identity")),
    "of an image squeezed to a third": (times(1 / 3, 1), says("far apart", "principal point")),
    "with a skew": (lambda K, w, h: K + np.array([[0, K[0, 0] / 20, 0], [0, 0, 0], [0, 0, 0]]), says("skew")),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILED_K)
@given(rig=rigs())
@settings(max_examples=30)
def test_spoiled_intrinsics_are_found_and_named(kind, rig):
    spoil, named = SPOILED_K[kind]
    K, size, pose = rig
    ((text,),) = found(frame([camera(spoil(K, *size), size, pose)])).values()
    assert named(text), text
    assert "camera front" in text
    assert "frame f0" in text


def turned(change):
    """Of a pose, the rotation alone."""

    def apply(pose):
        out = pose.copy()
        out[:3, :3] = change(pose[:3, :3])
        return out

    return apply


def misread(rotation):
    """A quaternion x y z w, read as w x y z."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return Rotation.from_quat([y, z, w, x]).as_matrix()


#: {what is done to camera_from_lidar: (how, what must be said)}.
SPOILED_POSE = {
    "inverted": (np.linalg.inv, "lidar_from_camera"),
    "rotation transposed": (turned(np.transpose), "its transpose"),
    "quaternion in the other order": (turned(misread), "a quaternion x y z w that was read as w x y z"),
    "quaternion of the inverse": (lambda T: np.linalg.inv(turned(misread)(np.linalg.inv(T))), "quaternion"),
    "axes x ahead, y left, z up": (lambda T: BODY_FROM_OPTICAL @ T, "x ahead, y left, z up"),
    "OpenGL": (lambda T: np.diag([1, -1, -1, 1]) @ T, "OpenGL"),
    "LiDAR's y up": (lambda T: T @ np.linalg.inv(Z_TO_Y), "is y up in the LiDAR's frame?"),
}


@pytest.mark.parametrize("kind", SPOILED_POSE)
@given(rig=rigs())
@settings(max_examples=15)
def test_spoiled_mounts_of_a_ring_of_cameras_are_found_and_named(kind, rig):
    """Six cameras all round; of one alone that looks to the right, the inverse is as plausible."""
    spoil, words = SPOILED_POSE[kind]
    K, size, pose = rig
    ring = [pose @ np.linalg.inv(mounted(yaw)) @ mounted() for yaw in range(0, 360, 60)]
    said = found(frame([camera(K, size, spoil(one), f"c{k}") for k, one in enumerate(ring)]))
    assert said.keys() == {"camera-upright"}
    assert all(words in text for text in said["camera-upright"])


@pytest.mark.parametrize("kind", ["inverted", "rotation transposed", "axes x ahead, y left, z up", "OpenGL"])
@given(rig=rigs(least_yaw=-54))  # at -54.7, and pitched by 30, the inverse is as plausible
@settings(max_examples=15)
def test_spoiled_mounts_of_one_camera_are_found(kind, rig):
    spoil, words = SPOILED_POSE[kind]
    K, size, pose = rig
    ((text,),) = found(frame([camera(K, size, spoil(pose))])).values()
    assert words in text


@pytest.mark.parametrize(("unit", "words"), [(1000, "millimetres"), (100, "centimetres")])
def test_a_camera_too_far_away_for_any_vehicle_stops_a_run(unit, words):
    pose = mounted(at=(1.7, 0, -0.3)) * np.array([[1, 1, 1, unit]] * 3 + [[1, 1, 1, 1]])
    (finding,) = check_plan(PlanInput(Path("/"), [frame([camera(pose=pose)])], DatasetInfo(), sample=0))
    assert finding.check == "camera-far"
    assert finding.refuse
    assert words in str(finding)


def test_a_pose_in_the_world_is_no_pose_of_the_lidar():
    pose = mounted(at=(411_303.6, 1180.9, 0))
    assert "pose in the world" in found(frame([camera(pose=pose)]))["camera-far"][0]


def test_a_long_vehicle_is_told_only():
    (finding,) = check_plan(
        PlanInput(Path("/"), [frame([camera(pose=mounted(at=(12, 0, -1)))])], DatasetInfo(), sample=0)
    )
    assert (finding.check, finding.refuse) == ("camera-distant", False)


@pytest.mark.parametrize(
    ("K", "size", "check", "words"),
    [
        (intrinsics(60, 60, 160, 90), (320, 180), "field-of-view", "138.9 x 112.6 degrees"),
        (intrinsics(9000, 9000, 639.5, 359.5), (1280, 720), "field-of-view", "8.1 x 4.6 degrees"),
        (intrinsics(1000, 600, 639.5, 359.5), (1280, 720), "focal-lengths", "far apart"),
        (
            intrinsics(639.5, 359.5, 1100, 1100),
            (1280, 720),
            "intrinsics-size",
            "where cx, cy belong",
        ),
        (intrinsics(1000, 1000, 359.5, 639.5), (1280, 720), "principal-point", "cx and cy swapped"),
        (intrinsics(600, 600, 239.5, 319.5), (640, 480), "principal-point", "cx and cy swapped"),
        (intrinsics(1000, 1000, 1000, 400), (1280, 720), "principal-point", "1000.0 of 1280 px"),
        (intrinsics(1266, 1266, 816, 491), (1280, 720), "principal-point", "factor 1.25"),
        (intrinsics(1266, 1266, 816, 491), (512, 512), "intrinsics-size", "an image of about 1633 x 983"),
    ],
)
def test_intrinsics_of_other_lenses_and_images(K, size, check, words):
    said = found(frame([camera(K, size)]))
    assert said.keys() == {check}
    assert words in said[check][0]


@pytest.mark.parametrize("data_set", ["semantickitti", "nuscenes", "manifest"])
def test_the_file_that_has_the_calibration_is_named(data_set):
    file = {"semantickitti": "calib.txt", "nuscenes": "calibrated_sensor.json", "manifest": "frames.parquet"}
    said = found(frame([camera(np.eye(3))]), dataset=data_set)
    assert file[data_set] in said["intrinsics-units"][0]


def test_one_calibration_of_many_is_told_once_with_its_first_frame():
    wrong, right = camera(intrinsics(400, 400, 319.5, 179.5), (320, 180)), camera(size=(320, 180))
    frames = [frame([wrong if 3 <= number < 10 else right], number) for number in range(20)]
    poses = [replace(one, global_from_lidar=np.eye(4) + 0 * one.index) for one in frames]
    (text,) = found(*poses)["intrinsics-size"]
    assert "(frame f3 and 6 more)" in text


#: Published coefficients of fisheyes (Kannala-Brandt), with what a fisheye of another data set may have.
FISHEYES = [
    ((512, 512), 190.978, (0.0034823894, 0.0007150348, -0.0020532361, 0.0002029367)),  # TUM VI
    ((1280, 720), 350.0, (-0.02, 0.005, -0.003, 0.0005)),
    ((848, 800), 286.2, (-0.0046, 0.0397, -0.0374, 0.0061)),  # as of a RealSense T265
    ((1280, 800), 520.0, (0.08, -0.03, 0.04, -0.03)),
]


@pytest.mark.parametrize(("size", "f", "coefficients"), FISHEYES)
def test_coefficients_of_fisheyes_are_no_tangential_ones(size, f, coefficients):
    K = intrinsics(f, f, size[0] / 2 - 0.5, size[1] / 2 - 0.5)
    said = found(frame([camera(K, size, distortion=np.array(coefficients))]))
    assert any("fisheye" in text for texts in said.values() for text in texts)


@pytest.mark.parametrize(
    ("coefficients", "words"),
    [
        ((-0.37, 0.2, -0.068, 0.0013, 0.0006), "another order"),  # k1 k2 k3 p1 p2
        ((-1.2, 0.0, 0.0, 0.0), "folds the image"),
        ((30.0, 0.0, 0.0, 0.0), "moves the border"),
    ],
)
def test_coefficients_of_no_lens(coefficients, words):
    K = intrinsics(959.8, 956.9, 696, 224)
    (text,) = found(frame([camera(K, (1392, 512), distortion=np.array(coefficients))]))["distortion"]
    assert words in text


def test_the_fold_is_where_opencv_folds():
    """Beyond the radius that is told, cv2 maps farther points nearer to the centre."""
    bent = np.array([-1.2, 0.0, 0.0, 0.0])
    K = intrinsics(959.8, 959.8, 696, 256)
    (text,) = found(frame([camera(K, (1392, 512), distortion=bent)]))["distortion"]
    radii = np.linspace(0, 1, 2001)
    drawn, _ = cv2.projectPoints(np.c_[radii, 0 * radii, 1 + 0 * radii], np.zeros(3), np.zeros(3), K, bent)
    share = (drawn[:, 0, 0].max() - 696) / 696
    assert float(re.search(r"at (\d+)%", text).group(1)) == pytest.approx(100 * share, abs=1)


@pytest.mark.parametrize(("up", "axis"), [((0, 1, 0), "+y"), ((0, 0, -1), "-z")])
def test_a_lidar_that_lies_on_its_side_in_the_world_is_told(up, axis):
    pose = np.eye(4)
    pose[:3, 2] = up
    pose[:3, 0] = (1, 0, 0)
    pose[:3, 1] = np.cross(up, (1, 0, 0))
    frames = [
        frame([camera()], k, pose=pose + np.array([[0, 0, 0, k]] + [[0, 0, 0, 0]] * 3)) for k in range(3)
    ]
    (text,) = found(*frames)["lidar-upright"]
    assert f"along {axis}" in text


def test_points_in_view_tell_the_inverse(tmp_path):
    """With a cloud at hand the inverse says how many points it brings into view."""
    (tmp_path / "l").mkdir()
    rng = np.random.default_rng(0)
    cloud = np.c_[rng.uniform(5, 20, 3000), rng.uniform(-2, 2, (3000, 2)), rng.uniform(0, 1, 3000)]
    cloud.astype("<f4").tofile(tmp_path / "l/0.bin")
    pose = np.linalg.inv(mounted(at=(0, 0, 0)))
    one = frame([camera(pose=pose)])
    (text,) = found(one, root=tmp_path, sample=1)["camera-upright"]
    assert "(2,934 points in view for 0)" in text
