"""The nuScenes reader and the scores against nuscenes-devkit on the same data root."""

from __future__ import annotations

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.lidarseg.evaluate import LidarSegEval
from nuscenes.utils.color_map import get_colormap
from nuscenes.utils.geometry_utils import transform_matrix
from nuscenes.utils.splits import create_splits_scenes
from pyquaternion import Quaternion

from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import load_truth, plan_frames
from labelgen.metrics import SegmentationScore
from tests.helpers.nuscenes_root import CATEGORIES, VERSION, make_dataroot


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = make_dataroot(tmp_path_factory.mktemp("devkit"), scenes=4)
    return root, NuScenes(VERSION, str(root), verbose=False)


def pose(devkit: NuScenes, record: dict) -> np.ndarray:
    """global_from_sensor, by the devkit's own functions."""
    out = np.eye(4)
    for table, key in (("ego_pose", "ego_pose_token"), ("calibrated_sensor", "calibrated_sensor_token")):
        found = devkit.get(table, record[key])
        out = out @ transform_matrix(found["translation"], Quaternion(found["rotation"]))
    return out


def test_the_made_data_root_has_the_devkits_categories():
    assert list(get_colormap()) == CATEGORIES


def test_frames_are_the_devkits(both):
    root, devkit = both
    frames, info = plan_frames("nuscenes", root)
    assert info.categories == devkit.lidarseg_name2idx_mapping
    walked = []
    for scene in devkit.scene:
        sample = scene["first_sample_token"]
        while sample:
            walked.append((scene["name"], devkit.get("sample", sample)))
            sample = walked[-1][1]["next"]
    assert len(frames) == len(walked) == 12
    for frame, (scene, sample) in zip(frames, walked, strict=True):
        lidar = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        assert (frame.scene_id, frame.frame_id) == (scene, lidar["token"])
        assert (frame.timestamp_us, frame.lidar_path) == (lidar["timestamp"], lidar["filename"])
        assert frame.label_path == devkit.get("lidarseg", lidar["token"])["filename"]
        assert frame.panoptic_path == devkit.get("panoptic", lidar["token"])["filename"]
        np.testing.assert_allclose(frame.global_from_lidar, pose(devkit, lidar), rtol=0, atol=1e-9)
        assert {c.name for c in frame.cameras} | {"LIDAR_TOP"} == set(sample["data"])
        for camera in frame.cameras:
            record = devkit.get("sample_data", sample["data"][camera.name])
            assert (camera.image_path, camera.timestamp_us) == (record["filename"], record["timestamp"])
            expected = np.linalg.inv(pose(devkit, record)) @ pose(devkit, lidar)
            np.testing.assert_allclose(camera.camera_from_lidar, expected, rtol=0, atol=1e-9)
            # the ego motion between the two timestamps is in it, 8 m/s
            keys = (record["calibrated_sensor_token"], lidar["calibrated_sensor_token"])
            mounts = [devkit.get("calibrated_sensor", key) for key in keys]
            rig = [transform_matrix(m["translation"], Quaternion(m["rotation"])) for m in mounts]
            moved = np.abs(np.linalg.inv(rig[0]) @ rig[1] - camera.camera_from_lidar).max()
            assert moved > 4e-6 * abs(camera.timestamp_us - frame.timestamp_us)


@pytest.mark.parametrize("split", ["mini_train", "mini_val"])
def test_splits_are_the_devkits(both, split):
    root, _ = both
    frames, _ = plan_frames("nuscenes", root, VERSION, split)
    wanted = set(create_splits_scenes()[split]) & {
        frame.scene_id for frame in plan_frames("nuscenes", root)[0]
    }
    assert wanted
    assert {frame.scene_id for frame in frames} == wanted


def test_scores_are_those_of_the_lidarseg_evaluation(both, tmp_path):
    """The devkit's whole evaluation, from its own folders, on predictions without gaps."""
    root, devkit = both
    rng = np.random.default_rng(0)
    frames, info = plan_frames("nuscenes", root, VERSION, "mini_val")
    taxonomy = load_taxonomy("nuscenes16")
    table = taxonomy.train_id_table(info.categories)
    score = SegmentationScore(taxonomy.names)
    folder = tmp_path / "lidarseg" / "mini_val"
    folder.mkdir(parents=True)
    for frame in frames:
        truth = load_truth(root, frame, table, 500)
        right = (rng.random(500) < 0.6) & (truth != 255)
        prediction = np.where(right, truth, rng.integers(0, 16, 500)).astype(np.uint8)
        score.update(truth, prediction)
        (prediction + np.uint8(1)).tofile(folder / f"{frame.frame_id}_lidarseg.bin")
    theirs = LidarSegEval(devkit, str(tmp_path), "mini_val").evaluate()
    ours = score.result()
    assert abs(ours["miou"] - theirs["miou"]) <= 1e-9
    for name, value in ours["iou"].items():
        expected = theirs["iou_per_class"][name]
        assert np.isnan(expected) if value is None else abs(value - expected) <= 1e-9
