"""A real nuScenes keyframe: calibration against the float64 reference, files byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from labelgen.datasets import load_cloud, load_image, plan_frames, read_frames, write_frames


@pytest.fixture(scope="module")
def planned(nuscenes_keyframe):
    frames, info = plan_frames("nuscenes", nuscenes_keyframe, "v1.0-mini")
    assert len(frames) == 1
    return frames[0], info


def test_the_frame(planned, nuscenes_keyframe):
    frame, info = planned
    assert frame.frame_id == "9d9bf11fb0e144c8b446d54a8a00184f"
    assert frame.scene_id == "scene-0061"
    assert frame.timestamp_us == 1532402927647951
    assert len(frame.cameras) == 6
    assert info.missing_files == 0
    cloud, _ = load_cloud(nuscenes_keyframe, frame)
    stored = np.fromfile(nuscenes_keyframe / frame.lidar_path, np.float32).reshape(-1, 5)
    assert len(cloud) == 34688
    np.testing.assert_array_equal(cloud.xyz, stored[:, :3])
    np.testing.assert_array_equal(np.unique(cloud.ring), np.arange(32))


def test_calibration_and_pixels_are_those_of_the_reference(planned, nuscenes_keyframe):
    frame, _ = planned
    xyz = load_cloud(nuscenes_keyframe, frame)[0].xyz.astype(np.float64)
    for camera in frame.cameras:
        with np.load(nuscenes_keyframe / "reference" / f"{camera.name}.npz") as reference:
            np.testing.assert_allclose(camera.camera_from_lidar, reference["lidar2cam_float64"], atol=1e-11)
            np.testing.assert_array_equal(camera.intrinsics, reference["K"])
            assert [camera.width, camera.height] == reference["image_size"].tolist()
            point = xyz @ camera.camera_from_lidar[:3, :3].T + camera.camera_from_lidar[:3, 3]
            with np.errstate(divide="ignore", invalid="ignore"):
                uv = (point @ camera.intrinsics.T)[:, :2] / point[:, 2:]
            kept = (
                (point[:, 2] > 1)
                & (uv > 1).all(axis=1)
                & (uv < [camera.width - 1, camera.height - 1]).all(axis=1)
            )
            np.testing.assert_array_equal(np.flatnonzero(kept), reference["index_float64"])
            np.testing.assert_allclose(uv[kept], reference["uv_float64"], atol=1e-6)


def test_images_are_decoded_as_pillow_does(planned, nuscenes_keyframe):
    frame, _ = planned
    for camera in frame.cameras:
        pixels, _ = load_image(nuscenes_keyframe, camera, frame.frame_id)
        with Image.open(nuscenes_keyframe / camera.image_path) as image:
            np.testing.assert_array_equal(pixels, np.asarray(image))


def test_the_plan_survives_its_file(planned, tmp_path):
    frame, info = planned
    write_frames(tmp_path / "frames.parquet", [frame], info)
    (found,), again = read_frames(tmp_path / "frames.parquet")
    assert again == info
    for one, other in zip(found.cameras, frame.cameras, strict=True):
        np.testing.assert_array_equal(one.camera_from_lidar, other.camera_from_lidar)
