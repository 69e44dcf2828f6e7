"""Checks of times, names and images: what is odd is told, what is usual is not."""

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.frame import PointCloud
from labelgen.datasets.checks import FrameInput, check_frame
from labelgen.geometry import project
from tests.helpers.calibrated import TIME, camera, found, frame, mounted


def drive(count=20, step_us=100_000, start=TIME, metres=1.0, camera_us=0, scale=1):
    """Frames of a scene at some speed; times are multiplied by ``scale`` and made whole."""
    frames = []
    for k in range(count):
        time = start + k * step_us
        pose = np.eye(4)
        pose[:2, 3] = 400 + metres * k, 1180
        shot = camera(time=round((time + camera_us) * scale), path=f"i/{k}.png")
        frames.append(frame([shot], k, time=round(time * scale), pose=pose))
    return frames


@pytest.mark.parametrize(
    "frames",
    [
        drive(),
        drive(start=0),  # KITTI
        drive(start=3_000_000_000, step_us=100_000),  # 50 minutes after a machine was switched on
        drive(start=500_000_000_000),  # GPS time of week
        drive(start=0, step_us=1_000_000),
        drive(step_us=50_000, camera_us=-40_000),
        drive(1, start=0),
        drive(1),
    ],
    ids=["epoch", "kitti", "uptime", "week", "slow", "fast", "single", "one"],
)
def test_usual_times_are_silent(frames):
    assert found(*frames) == {}


@pytest.mark.parametrize(
    ("scale", "words"),
    [(1e-6, "are they in seconds?"), (1e-3, "are they in milliseconds?"), (1000, "are they in nanoseconds?")],
)
@pytest.mark.parametrize("count", [1, 20])
def test_times_in_other_units(scale, words, count):
    said = found(*drive(count, scale=scale, metres=1e-3))
    if (scale, count) == (1e-6, 1):  # it might as well be 28 minutes of a drive
        assert "time-units" not in said
    else:
        assert words in said["time-units"][0]
        assert "2023" in said["time-units"][0]


def test_times_of_a_drive_in_nanoseconds():
    frames = drive(start=0, scale=1000)
    assert "frames are 100 s apart; are they in nanoseconds?" in found(*frames)["time-units"][0]


def test_times_of_a_drive_in_milliseconds():
    frames = drive(start=0, scale=1e-3, metres=1e-3)
    assert "are they in seconds or milliseconds?" in found(*frames)["time-units"][0]


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (lambda t: t + 7_200_000_000, "+2 hours"),
        (lambda t: t - 19_800_000_000, "-5.5 hours"),
        (lambda t: t + 18_000_000, "GPS time"),
        (lambda t: t - 37_000_000, "TAI"),
        (lambda t: t + 1_300_000, "do the clocks differ?"),
        (lambda t: 0, "it has no time"),
        (lambda t: t // 1000, "the camera's time in milliseconds"),
        (lambda t: t * 1000, "the camera's time in nanoseconds"),
    ],
)
def test_cameras_of_another_clock(offset, words):
    frames = []
    for one in drive():
        shot = replace(one.cameras[0], timestamp_us=offset(one.timestamp_us))
        frames.append(replace(one, cameras=(shot,)))
    (text,) = found(*frames)["camera-time"]
    assert words in text
    assert "camera front was fired" in text
    assert "(frame f0 and 19 more)" in text


def test_images_of_other_frames():
    frames = drive()
    shots = [one.cameras[0] for one in frames]
    frames = [replace(one, cameras=(shots[(k * 7) % 20],)) for k, one in enumerate(frames)]
    assert "is it the image of another frame?" in found(*frames)["camera-time"][0]


def test_poses_that_do_not_move():
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    standing = [replace(one, global_from_lidar=pose) for one in drive(3)]
    assert "same place" in found(*standing)["scene-poses"][0]
    missing = [replace(one, global_from_lidar=np.eye(4)) for one in drive(3)]
    assert "no poses" in found(*missing)["scene-poses"][0]


def test_positions_in_degrees():
    frames = []
    for k, one in enumerate(drive()):
        pose = np.eye(4)
        pose[:3, 3] = 48.13743 + 9e-6 * k, 11.57549 + 1.4e-5 * k, 519.0
        frames.append(replace(one, global_from_lidar=pose))
    assert "latitude and longitude" in found(*frames)["scene-degrees"][0]


def test_a_car_that_waits_is_no_car_in_degrees():
    rng = np.random.default_rng(0)
    frames = []
    for one in drive(40):
        pose = np.eye(4)
        pose[:3, 3] = np.array([48.1, 11.5, 0]) + rng.normal(0, 1e-4, 3)
        frames.append(replace(one, global_from_lidar=pose))
    assert found(*frames) == {}


def test_names_that_differ_by_case():
    one, two = drive(2)
    said = found(replace(one, frame_id="run_A"), replace(two, frame_id="run_a"))
    assert "frames run_A and run_a differ only in case" in said["ids-by-case"][0]
    said = found(one, replace(two, scene_id="S"))
    assert "scenes s and S" in said["ids-by-case"][0]
    said = found(frame([camera(name="Front"), camera(name="front")]))
    assert "cameras Front and front" in said["ids-by-case"][0]


def test_one_image_of_two_cameras_and_frames():
    shared = frame([camera(name="front", path="i/0.png"), camera(name="back", path="i/0.png")])
    assert "cameras front and back have the same image i/0.png" in found(shared)["image-of-two-cameras"][0]
    one, two = drive(2)
    copied = replace(two, cameras=(replace(two.cameras[0], image_path="i/0.png"),))
    assert "have the same image i/0.png" in found(one, copied)["image-of-two-frames"][0]
    # A camera that is slower than the LiDAR says the same time twice.
    assert found(one, replace(two, cameras=one.cameras)) == {}
    assert "LiDAR file l/0.bin" in found(one, replace(two, lidar_path="l/0.bin"))["cloud-of-two-frames"][0]


def points(**cameras):
    """A frame whose cameras stand somewhere, with a cloud all round, as a worker sees it."""
    rng = np.random.default_rng(0)
    a, z = rng.uniform(-np.pi, np.pi, 20_000), rng.uniform(-1.8, 1, 20_000)
    xyz = np.c_[12 * np.cos(a), 12 * np.sin(a), z].astype(np.float32)
    one = frame([camera(name=name, pose=pose) for name, pose in cameras.items()])
    cloud = PointCloud(xyz, rng.random(len(xyz)).astype(np.float32))
    return FrameInput(one, cloud, project(one, cloud))


def noted(data):
    return {name: str(odd) for name, odd in check_frame(data)}


def test_cameras_that_see_nothing():
    up = mounted(pitch=80)
    assert noted(points(front=mounted(), left=mounted(90))) == {}
    assert "camera sky sees no point" in noted(points(front=mounted(), sky=up))["few-views"]
    assert "camera sky, the only one, sees no point" in noted(points(sky=up))["no-view"]
    assert "no camera sees a point (sky, too)" in noted(points(sky=up, too=up))["no-view"]
    said = noted(points(front=mounted(), high=mounted(pitch=20.5)))
    assert "could hold" in said["few-views"]


def test_two_images_of_the_same_bytes():
    data = points(front=mounted(), left=mounted(90))
    assert noted(replace(data, hashes={"i/front.png": "a", "i/left.png": "b"})) == {}
    said = noted(replace(data, hashes={"i/front.png": "a", "i/left.png": "a"}))
    assert "cameras front and left are the same, byte for byte" in said["image-twice"]
