"""labelgen datasets check: reads a data set as a run would, and says what looks wrong."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from labelgen.core.frame import Camera, Frame
from labelgen.datasets import DatasetInfo, plan_frames, write_frames
from tests.helpers.cli import Shell
from tests.helpers.nuscenes_root import make_dataroot


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    return make_dataroot(folder, scenes=2, samples=3)


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def check(shell, dataset, root, *more):
    return shell("datasets", "check", "--dataset", dataset, "--dataroot", root, *more, "--json")


def rewritten(city, folder, change):
    """The plan of the city with each frame changed, away from the data."""
    frames, info = plan_frames("nuscenes", city)
    path = folder / "frames.parquet"
    write_frames(path, [change(frame) for frame in frames], replace(info, dataroot=str(city)))
    return path


def test_a_sound_data_set(city, shell, tmp_path):
    found = check(shell, "nuscenes", city, "--frames", 2, "--out", tmp_path / "out")
    assert found.code == 0, found.out
    assert (found.json["frames"], found.json["scenes"], found.json["problems"]) == (6, 2, [])
    assert len(found.json["checked"]) == 2
    for one in found.json["checked"]:
        assert one["points"] == 500 > one["finite"] > 450
        assert len(one["cameras"]) == 6
        assert all(camera["points"] >= camera["visible"] > 0 for camera in one["cameras"].values())
        with Image.open(one["picture"]) as picture:
            assert picture.width == 2400
            assert np.asarray(picture).std() > 10
    text = shell("datasets", "check", "--dataset", "nuscenes", "--dataroot", city)
    assert "nothing looks wrong" in text.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: replace(f, global_from_lidar=np.eye(4)), "no poses"),
        (lambda f: replace(f, timestamp_us=f.cameras[0].timestamp_us - 900_000), "was fired +0.90 s"),
        (lambda f: replace(f, timestamp_us=5), "is not later than"),
        (
            lambda f: replace(f, global_from_lidar=np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * f.index * 1e4),
            "are positions in metres",
        ),
        (
            lambda f: replace(
                f, cameras=(replace(f.cameras[0], camera_from_lidar=np.eye(4) - 2 * np.diag([1.0, 0, 1, 0])),)
            ),
            "sees no point",
        ),
        (
            lambda f: replace(f, cameras=(replace(f.cameras[0], image_path="samples/none.jpg"),)),
            "no such file",
        ),
        (lambda f: replace(f, label_path=f.lidar_path), "the truth belongs to another cloud"),
        (
            lambda f: replace(f, cameras=(f.cameras[0], replace(f.cameras[0], name="twin"))),
            "are the same, byte for byte",
        ),
    ],
)
def test_what_looks_wrong_is_said(city, shell, tmp_path, change, message):
    found = check(shell, "manifest", rewritten(city, tmp_path, change), "--frames", 1)
    assert found.code == 1
    said = [*found.json["problems"], *found.json["checked"][0]["problems"]]
    assert any(message in one for one in said), said


def test_a_data_set_that_is_not_there(shell, tmp_path):
    found = check(shell, "manifest", tmp_path)
    assert found.code == 2
    assert "no file" in found.err


def test_a_lens_of_ones_own_is_opencvs(shell, tmp_path):
    """Points behind a strong lens are where OpenCV sees them, all the way through the Parquet file."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform([4, -6, -2], [40, 6, 3], (4000, 3)).astype(np.float32)
    np.column_stack([xyz, rng.random(len(xyz))]).astype("<f4").tofile(tmp_path / "0.bin")
    Image.linear_gradient("L").resize((1280, 720)).save(tmp_path / "0.png")
    K = np.array([[900.0, 0, 640.2], [0, 905.0, 358.7], [0, 0, 1]])
    pose = np.array([[0, -1, 0, 0.1], [0, 0, -1, -0.3], [1, 0, 0, 0.2], [0, 0, 0, 1]], float)
    lens = np.array([-0.31, 0.12, 0.0007, -0.0011, -0.02])
    camera = Camera("front", "0.png", 1280, 720, K, pose, 1_000_000, distortion=lens)
    frame = Frame("one", "scene", 0, 1_000_000, "0.bin", "kitti", np.eye(4), (camera,))
    write_frames(tmp_path / "frames.parquet", [frame], DatasetInfo("mine"))
    found = check(shell, "manifest", tmp_path, "--out", tmp_path / "out")
    assert found.code == 0, found.out
    uv = cv2.projectPoints(xyz.astype(float), cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], K, lens)[0][:, 0]
    depth = xyz @ pose[2, :3] + pose[2, 3]
    inside = (depth > 1) & (uv > 1).all(1) & (uv < [1279, 719]).all(1)
    counted = found.json["checked"][0]["cameras"]["front"]["points"]
    assert abs(counted - inside.sum()) <= 2  # beyond the lens's fold, OpenCV draws points back in


def test_a_real_kitti_frame(kitti_frame, shell, tmp_path):
    found = check(shell, "semantickitti", kitti_frame, "--out", tmp_path)
    assert found.code == 0, found.out
    (one,) = found.json["checked"]
    assert one["points"] == 17_238
    assert one["cameras"]["image_2"]["points"] > 17_000


def test_the_readers_are_listed(shell):
    from labelgen.datasets import DATASETS

    assert list(shell("datasets", "list", "--json").json) == ["demo", "nuscenes", "semantickitti", "manifest"]
    assert DATASETS.own() == ["demo", "nuscenes", "semantickitti", "manifest"]
    assert "frames.parquet" in shell("datasets", "list").out
