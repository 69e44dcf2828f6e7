"""A built dataroot: read and scored by nuscenes-devkit, and true to itself across sensors."""

import hashlib
import json

import numpy as np
import pytest
from nuscenes.eval.lidarseg.evaluate import LidarSegEval
from nuscenes.eval.panoptic.evaluate import NuScenesPanopticEval
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from PIL import Image
from pyquaternion import Quaternion

from labelgen.demo.world import CAMERA_NAMES, CATEGORIES, CLASS_OF_CATEGORY, SKY, build
from labelgen.demo.world.rig import pose_matrix, rigid_inverse
from labelgen.demo.world.visibility import SAME_OBJECT, SEEN

SCENES, FRAMES, SIZE = 2, 2, (480, 270)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "root"
    reports = []
    build(out, scenes=SCENES, frames=FRAMES, image_size=SIZE, progress=lambda *what: reports.append(what))
    assert [r[0] for r in reports] == list(range(SCENES * FRAMES + 1))
    return out


@pytest.fixture(scope="module")
def nusc(root):
    return NuScenes("v1.0-mini", str(root), verbose=False)


def matrix(record):
    return pose_matrix(np.array(record["translation"]), np.array(record["rotation"]))


def test_tables_are_whole_and_linked(nusc, root):
    assert len(nusc.scene) == SCENES
    assert len(nusc.sample) == SCENES * FRAMES
    assert len(nusc.sample_data) == SCENES * FRAMES * 7
    assert [c["name"] for c in sorted(nusc.category, key=lambda c: c["index"])] == list(CATEGORIES)
    for scene in nusc.scene:
        sample, count = scene["first_sample_token"], 0
        while sample:
            record = nusc.get("sample", sample)
            assert set(record["data"]) == {"LIDAR_TOP", *CAMERA_NAMES}
            count, sample = count + 1, record["next"]
        assert count == scene["nbr_samples"] == FRAMES
    for instance in nusc.instance:
        token, count = instance["first_annotation_token"], 0
        while token:
            record = nusc.get("sample_annotation", token)
            assert record["instance_token"] == instance["token"]
            count, last, token = count + 1, token, record["next"]
        assert (count, last) == (instance["nbr_annotations"], instance["last_annotation_token"])
    for data in nusc.sample_data:
        assert (root / data["filename"]).is_file()
        sample = nusc.get("sample", data["sample_token"])
        assert 0 <= sample["timestamp"] - data["timestamp"] <= 50_000
        assert nusc.get("ego_pose", data["ego_pose_token"])["timestamp"] == data["timestamp"]
    for scene in nusc.scene:
        mask = nusc.get("map", nusc.get("log", scene["log_token"])["map_token"])["mask"]
        data = nusc.get("sample", scene["first_sample_token"])["data"]["LIDAR_TOP"]
        x, y, _ = nusc.get("ego_pose", nusc.get("sample_data", data)["ego_pose_token"])["translation"]
        assert mask.is_on_mask(x, y)


def test_the_devkit_scores_truth_as_perfect(nusc, root, tmp_path):
    (tmp_path / "lidarseg/mini_val").mkdir(parents=True)
    (tmp_path / "panoptic/mini_val").mkdir(parents=True)
    present = set()
    for sample in nusc.sample:
        token = sample["data"]["LIDAR_TOP"]
        truth = np.fromfile(root / nusc.get("lidarseg", token)["filename"], np.uint8)
        panoptic = np.load(root / nusc.get("panoptic", token)["filename"])["data"]
        assert panoptic.dtype == np.uint16
        assert np.array_equal(panoptic // 1000, truth)
        classes = CLASS_OF_CATEGORY[truth]
        present |= set(classes.tolist())
        # 0 is forbidden in predictions; where the truth is ignored anything may stand.
        np.where(classes == 0, 11, classes).astype(np.uint8).tofile(
            tmp_path / f"lidarseg/mini_val/{token}_lidarseg.bin"
        )
        instance = np.where(classes <= 10, panoptic % 1000, 0)
        np.savez(
            tmp_path / f"panoptic/mini_val/{token}_panoptic.npz",
            data=(classes * 1000 + instance).astype(np.uint16),
        )
    scores = LidarSegEval(nusc, str(tmp_path), "mini_val").evaluate()
    assert scores["miou"] == 1.0
    NuScenesPanopticEval(nusc, str(tmp_path), "mini_val", "tracking", 15, str(tmp_path)).evaluate()
    results = json.loads((tmp_path / "tracking-result.json").read_text())
    names = {name for name in results["segmentation"] if name not in ("all", "ignore")}
    assert len(names) == 16
    scored = 0
    for name in names:
        if results["segmentation"][name]["RQ"] > 0:
            assert results["segmentation"][name]["PQ"] == 1.0
            assert results["tracking"][name]["PTQ"] == 1.0
            scored += 1
    assert scored >= 11
    assert len(present) >= 14


def test_pixels_and_points_tell_the_same_class(nusc, root):
    agree, total = 0, 0
    for sample in nusc.sample:
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(str(root / lidar["filename"])).points[:3].T.astype(np.float64)
        category = np.fromfile(root / nusc.get("lidarseg", lidar["token"])["filename"], np.uint8)
        bits = np.load(root / f"truth/visibility/{lidar['token']}.npz")["bits"]
        assert bits.shape == (len(points), 6)
        world_from_lidar = matrix(nusc.get("ego_pose", lidar["ego_pose_token"])) @ matrix(
            nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        )
        for index, name in enumerate(CAMERA_NAMES):
            data = nusc.get("sample_data", sample["data"][name])
            sensor = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
            world_from_camera = matrix(nusc.get("ego_pose", data["ego_pose_token"])) @ matrix(sensor)
            local = rigid_inverse(world_from_camera) @ world_from_lidar
            x, y, z = (local[:3, :3] @ points.T) + local[:3, 3:]
            k = np.array(sensor["camera_intrinsic"])
            seen = (bits[:, index] & SEEN) > 0
            assert (z[seen] >= 1.0).all()
            u = np.rint(k[0, 0] * x[seen] / z[seen] + k[0, 2]).astype(int)
            v = np.rint(k[1, 1] * y[seen] / z[seen] + k[1, 2]).astype(int)
            assert u.min() >= 0
            assert u.max() < SIZE[0]
            truth = np.array(Image.open(root / f"truth/category/{name}/{data['token']}.png"))
            assert truth.shape == (SIZE[1], SIZE[0])
            padded = np.pad(truth, 2, mode="edge")
            around = np.stack([padded[v + a, u + b] for a in range(5) for b in range(5)], 1)
            plain = (around == around[:, :1]).all(1)
            agree += int((truth[v, u] == category[seen])[plain].sum())
            total += int(plain.sum())
            assert ((bits[seen, index] & SAME_OBJECT) > 0).mean() > 0.9
    assert total > 20_000
    assert agree / total >= 0.99


def test_boxes_hold_their_points(nusc, root):
    checked = 0
    for sample in nusc.sample:
        token = sample["data"]["LIDAR_TOP"]
        path, boxes, _ = nusc.get_sample_data(token)
        points = LidarPointCloud.from_file(path).points[:3]
        panoptic = np.load(root / nusc.get("panoptic", token)["filename"])["data"]
        objects = json.loads(
            (root / f"truth/objects-{nusc.get('scene', sample['scene_token'])['name']}.json").read_text()
        )
        ids = np.load(root / f"truth/visibility/{token}.npz")["object_id"]
        owner = {}
        for key, entry in objects.items():
            if entry["instance"]:
                owner[CATEGORIES.index(entry["category"]) * 1000 + entry["instance"]] = int(key)
        by_count = {}
        for value in np.unique(panoptic[(panoptic % 1000) > 0]):
            mine = panoptic == value
            assert (ids[mine] == owner[int(value)]).all()
            by_count[int(value)] = mine
        for box in boxes:
            annotation = nusc.get("sample_annotation", box.token)
            if not annotation["num_lidar_pts"]:
                continue
            within = points_in_box(box, points)
            moving = any(
                nusc.get("attribute", a)["name"]
                in ("vehicle.moving", "pedestrian.moving", "cycle.with_rider")
                for a in annotation["attribute_tokens"]
            )
            candidates = [
                m for value, m in by_count.items()
                if CATEGORIES[value // 1000] == box.name and m.sum() == annotation["num_lidar_pts"]
            ]  # fmt: skip
            assert candidates, "the number of points is that of an instance"
            if not moving:
                # Things that stand: all points, but for the noise of the range.
                assert max((within & m).sum() / m.sum() for m in candidates) > 0.98
                checked += 1
            rotation = Quaternion(annotation["rotation"])
            assert abs(rotation.norm - 1) < 1e-9
    assert checked > 30


def test_truth_maps_hold_known_values(nusc, root):
    for scene in nusc.scene:
        sample = nusc.get("sample", scene["first_sample_token"])
        objects = json.loads((root / f"truth/objects-{scene['name']}.json").read_text())
        for name in CAMERA_NAMES:
            token = sample["data"][name]
            category = np.array(Image.open(root / f"truth/category/{name}/{token}.png"))
            object_id = np.array(Image.open(root / f"truth/object/{name}/{token}.png"))
            assert object_id.max() < 65_536
            assert ((object_id == 0) == (category == SKY)).all()
            for key in np.unique(object_id[object_id > 0]):
                assert set(category[object_id == key]) == {CATEGORIES.index(objects[str(key)]["category"])}


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    again = tmp_path / "again"
    build(again, scenes=1, frames=1, image_size=SIZE)
    compared = 0
    for path in sorted(again.rglob("*")):
        relative = path.relative_to(again)
        if path.is_file() and relative.parts[0] in ("samples", "lidarseg", "panoptic", "truth", "maps"):
            if relative.name.endswith("README.json"):
                continue
            assert digest(path) == digest(root / relative), relative
            compared += 1
    assert compared > 6 * 3 + 5


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
