"""The nuScenes reader on a made data root: right frames from good tables, one line for bad ones."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import load_cloud, load_image, load_truth, plan_frames
from labelgen.datasets.nuscenes import CAMERA_ORDER, plan_nuscenes
from tests.helpers.nuscenes_root import CAMERAS, COLORS, SCENES, VERSION, edit_table, make_dataroot

#: Tables that a plan reads; the fields of a record that it cannot do without.
FIELDS = {
    "scene": ("token", "name"),
    "sample": ("token", "timestamp", "scene_token"),
    "sensor": ("token", "channel", "modality"),
    "calibrated_sensor": ("token", "sensor_token", "translation", "rotation", "camera_intrinsic"),
    "sample_data": (
        "token",
        "sample_token",
        "ego_pose_token",
        "calibrated_sensor_token",
        "timestamp",
        "is_key_frame",
        "filename",
        "width",
        "height",
    ),
    "ego_pose": ("token", "translation", "rotation"),
    "lidarseg": ("token", "sample_data_token", "filename"),
    "panoptic": ("token", "sample_data_token", "filename"),
    "category": ("name",),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return make_dataroot(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def root(pristine, tmp_path) -> Path:
    """A data root whose tables may be spoilt; clouds and images are links to the pristine ones."""
    shutil.copytree(pristine / VERSION, tmp_path / VERSION)
    for folder in ("samples", "lidarseg", "panoptic"):
        (tmp_path / folder).symlink_to(pristine / folder)
    return tmp_path


def refused(*args) -> str:
    with pytest.raises(UserError) as caught:
        plan_frames("nuscenes", *args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFrames:
    def test_order_and_contents(self, root, capsys):
        frames, info = plan_frames("nuscenes", root)
        assert capsys.readouterr().out == ""
        assert [(f.scene_id, f.index) for f in frames] == [(s, k) for s in SCENES[:2] for k in range(3)]
        assert len({f.frame_id for f in frames}) == len({f.source_id for f in frames}) == 6
        assert (info.dataset, info.version, info.split, info.missing_files) == ("nuscenes", VERSION, "", 0)
        assert info.dataroot == str(root)
        assert (info.categories["noise"], info.categories["flat.sidewalk"], len(info.categories)) == (
            0,
            26,
            32,
        )
        for frame in frames:
            assert tuple(camera.name for camera in frame.cameras) == CAMERA_ORDER
            offsets = [camera.timestamp_us - frame.timestamp_us for camera in frame.cameras]
            assert offsets == [CAMERAS[name][1] for name in CAMERA_ORDER]
            assert len(load_cloud(root, frame)[0]) == 500
            assert len(load_truth(root, frame, np.arange(256, dtype=np.uint8), 500)) == 500
            assert (root / frame.panoptic_path).is_file()

    def test_points_of_cars_fall_on_painted_cars(self, root):
        """Nothing but cars stands before cars in the made world, so this fails if a pose is wrong."""
        frames, info = plan_frames("nuscenes", root)
        hits = total = 0
        for frame in frames:
            xyz = load_cloud(root, frame)[0].xyz.astype(float)
            cars = (
                load_truth(root, frame, np.arange(256, dtype=np.uint8), None)
                == info.categories["vehicle.car"]
            )
            for camera in frame.cameras:
                image = load_image(root, camera, frame.frame_id)[0].astype(int)
                point = xyz[cars] @ camera.camera_from_lidar[:3, :3].T + camera.camera_from_lidar[:3, 3]
                point = point[point[:, 2] > 3]
                uv = (point @ camera.intrinsics.T)[:, :2] / point[:, 2:]
                inside = ((uv > 1) & (uv < [camera.width - 2, camera.height - 2])).all(axis=1)
                pixel = np.round(uv[inside]).astype(int)
                distance = np.abs(image[pixel[:, 1], pixel[:, 0]] - COLORS["vehicle.car"]).max(axis=1)
                hits, total = hits + int((distance < 60).sum()), total + len(pixel)
        assert total > 200
        assert hits / total > 0.97

    def test_the_demo_is_a_nuscenes_root(self, root):
        frames, info = plan_frames("demo", root)
        assert info.dataset == "demo"
        assert [f.frame_id for f in frames] == [f.frame_id for f in plan_nuscenes(root)[0]]

    def test_truth_is_translated_by_the_tables(self, root):
        frames, info = plan_frames("nuscenes", root)
        table = load_taxonomy("nuscenes16").train_id_table(info.categories)
        ids = np.fromfile(root / frames[0].label_path, np.uint8)
        truth = load_truth(root, frames[0], table, len(ids))
        names = [*load_taxonomy("nuscenes16").names, *["-"] * 240]
        seen = {(list(info.categories)[i], names[t]) for i, t in zip(ids, truth, strict=True)}
        assert ("flat.sidewalk", "sidewalk") in seen
        assert ("noise", "-") in seen
        assert len(seen) == 5

    def test_no_label_tables(self, root):
        for table in ("lidarseg", "panoptic"):
            (root / VERSION / f"{table}.json").unlink()
        frames, info = plan_frames("nuscenes", root)
        assert info.categories == {}
        assert frames[0].label_path is None
        assert frames[0].panoptic_path is None

    @pytest.mark.parametrize(
        "table", ["map", "sample_annotation", "instance", "log", "attribute", "visibility"]
    )
    def test_what_is_not_needed_may_be_missing(self, root, table):
        (root / VERSION / f"{table}.json").unlink()
        assert len(plan_frames("nuscenes", root)[0]) == 6

    def test_a_camera_without_record_is_left_out(self, root):
        def drop(records):
            gone = next(r for r in records if "CAM_BACK__" in r["filename"])
            return [r for r in records if r is not gone]

        edit_table(root, "sample_data", drop)
        frames, _ = plan_frames("nuscenes", root)
        assert [c.name for c in frames[0].cameras] == [name for name in CAMERA_ORDER if name != "CAM_BACK"]
        assert len(frames[1].cameras) == 6

    def test_missing_files_are_counted_and_no_file_at_all_is_an_error(self, pristine, tmp_path):
        root = tmp_path / "copy"
        shutil.copytree(pristine, root)
        frames, _ = plan_frames("nuscenes", root)
        os.unlink(root / frames[2].cameras[0].image_path)
        os.unlink(root / frames[3].lidar_path)
        again, info = plan_frames("nuscenes", root)
        assert info.missing_files == 2
        changed = [a.source_id != b.source_id for a, b in zip(frames, again, strict=True)]
        assert changed == [False, False, True, True, False, False]
        shutil.rmtree(root / "samples" / "LIDAR_TOP")
        assert "holds none of the 6 LiDAR files" in refused(root)


class TestChoice:
    def test_splits(self, root):
        def scenes(split):
            return sorted({frame.scene_id for frame in plan_frames("nuscenes", root, VERSION, split)[0]})

        assert scenes("mini_train") == ["scene-0061"]
        assert scenes("mini_val") == ["scene-0103"]
        assert scenes("scene-0103, scene-0061") == ["scene-0061", "scene-0103"]
        assert scenes("scene-0103") == ["scene-0103"]
        (root / VERSION / "splits.json").write_text(
            '{"mine": ["scene-0061", "scene-0999"], "val": ["scene-0061"]}'
        )
        assert scenes("mine") == ["scene-0061"]
        assert scenes("val") == ["scene-0103"]  # the devkit's own splits come first, as in the devkit

    def test_wrong_split(self, root):
        assert "scene-0061, scene-0103" in refused(root, VERSION, "nonsense")
        assert "scene-0999 is neither" in refused(root, VERSION, "scene-0061,scene-0999")
        assert "mini_val" in refused(root, VERSION, ",")
        assert "no scene of split 'test'" in refused(root, VERSION, "test")
        (root / VERSION / "splits.json").write_text('{"mine": 3}')
        assert "splits.json" in refused(root, VERSION, "mine")

    def test_wrong_root_or_version(self, root, tmp_path):
        assert "is not a folder" in refused(tmp_path / "absent")
        assert "is not a folder" in refused(root / VERSION / "scene.json")
        assert "holds no nuScenes tables" in refused(root / "samples")
        assert f"give its parent {root}" in refused(root / VERSION)
        assert f"there is {VERSION}" in refused(root, "v1.0-trainval")
        assert "holds no version" in refused(root, f"../{root.name}/{VERSION}")
        shutil.copytree(root / VERSION, root / "v1.0-other")
        assert f"holds the versions {VERSION}, v1.0-other; choose one" in refused(root)
        assert len(plan_frames("nuscenes", root, "v1.0-other")[0]) == 6

    def test_unknown_data_set(self, root):
        with pytest.raises(UserError, match="unknown data set 'kitty'; choose from demo, manifest, nuscenes"):
            plan_frames("kitty", root)


class TestWhatIsNotRead:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("camera_distortion", [-0.3, 0.1, 0.001, 0.001, 0.0]),
            ("distortion", {"k1": -0.3}),
            ("camera_model", "fisheye"),
            ("lens", "Kannala-Brandt"),
            ("xi", 1.2),
        ],
    )
    def test_fields_of_calibrations_are_named(self, root, field, value):
        edit_table(root, "calibrated_sensor", lambda records: [{**r, field: value} for r in records])
        (note,) = plan_nuscenes(root)[1].notes
        assert f"calibrated_sensor.json: {field} of CAM_BACK and 5 more is not read" in note

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("camera_distortion", []),
            ("camera_distortion", [0.0, 0, 0, 0, 0]),
            ("camera_model", "pinhole"),
            ("distortion", None),
            ("channel", "CAM_FRONT"),
        ],
    )
    def test_fields_that_say_nothing_are_passed_over(self, root, field, value):
        edit_table(root, "calibrated_sensor", lambda records: [{**r, field: value} for r in records])
        assert plan_nuscenes(root)[1].notes == ()

    @pytest.mark.parametrize(("table", "what"), [("calibrated_sensor", "cameras"), ("ego_pose", "vehicle")])
    def test_quaternions_in_the_other_order(self, root, table, what):
        def turn(records):
            for number, record in enumerate(records):
                if table == "ego_pose":  # up a ramp, and to the north
                    record["rotation"] = Rotation.from_euler("zy", [80, number % 5], True).as_quat().tolist()
                else:
                    w, x, y, z = record["rotation"]
                    record["rotation"] = [x, y, z, w]

        edit_table(root, table, turn)
        (note,) = plan_nuscenes(root)[1].notes
        assert f"{table}.json: rotation seems to be in the order x y z w" in note
        assert what in note


class TestBrokenTables:
    @pytest.mark.parametrize("table", FIELDS)
    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[1, 2", b"null", b"{}", b"3", b"[3]", b"[[]]", b"\xff\xfe\x00", b"[" * 100_000],
    )
    def test_no_table(self, root, table, content):
        (root / VERSION / f"{table}.json").write_bytes(content)
        assert f"{table}.json" in refused(root)

    @pytest.mark.parametrize("table", FIELDS)
    def test_truncated_table(self, root, table):
        path = root / VERSION / f"{table}.json"
        path.write_bytes(path.read_bytes()[:-20])
        assert f"{table}.json is not JSON" in refused(root)

    @pytest.mark.parametrize("table", [t for t in FIELDS if t not in ("lidarseg", "panoptic", "sample_data")])
    def test_missing_table(self, root, table):
        (root / VERSION / f"{table}.json").unlink()
        assert f"{table}.json is missing" in refused(root)

    @pytest.mark.parametrize(("table", "field"), [(t, f) for t, fields in FIELDS.items() for f in fields])
    @pytest.mark.parametrize("value", ["absent", None, [None], 1.5])
    def test_field_of_another_type(self, root, table, field, value):
        def spoil(records):
            # the last record of ego_pose and sample_data is of a keyframe of a camera
            if value == "absent":
                del records[-1][field]
            else:
                records[-1][field] = value

        edit_table(root, table, spoil)
        message = refused(root)
        # a pose without a token is one that sample_data does not find
        assert table in message or (table, field) == ("ego_pose", "token")

    @pytest.mark.parametrize(
        ("table", "field"),
        [
            ("sample_data", "sample_token"),
            ("sample_data", "ego_pose_token"),
            ("sample_data", "calibrated_sensor_token"),
            ("calibrated_sensor", "sensor_token"),
            ("sample", "scene_token"),
        ],
    )
    def test_token_without_record(self, root, table, field):
        edit_table(root, table, lambda records: records[0].update({field: "f" * 32}))
        message = refused(root)
        assert f"{table}.json" in message
        assert f"{field} '{'f' * 32}' is not in any table" in message

    @pytest.mark.parametrize(
        ("table", "field", "value"),
        [
            ("ego_pose", "rotation", [0, 0, 0, 0]),
            ("ego_pose", "rotation", [2, 0, 0, 0]),
            ("ego_pose", "rotation", [1, 0, 0]),
            ("ego_pose", "rotation", [1, 0, 0, "x"]),
            ("ego_pose", "rotation", [float("nan"), 0, 0, 1]),
            ("ego_pose", "translation", [1, 2]),
            ("ego_pose", "translation", [[1, 2, 3]]),
            ("ego_pose", "translation", [1, 2, 1e400]),
            ("ego_pose", "translation", [1, None, 3]),
            ("ego_pose", "translation", [10**400, 1, 1]),
            ("calibrated_sensor", "rotation", [1, 1, 1, 1]),
            ("calibrated_sensor", "translation", []),
            ("calibrated_sensor", "camera_intrinsic", []),
            ("calibrated_sensor", "camera_intrinsic", [[1, 0, 0], [0, 1, 0]]),
            ("calibrated_sensor", "camera_intrinsic", [[1, 0, 0], [0, 1, 0], [0, 0]]),
        ],
    )
    def test_numbers(self, root, table, field, value):
        edit_table(root, table, lambda records: records[-1].update({field: value}))
        message = refused(root)
        assert f"{table}.json" in message
        assert field.split("_")[-1] in message

    @pytest.mark.parametrize("table", ["sample_data", "lidarseg", "panoptic"])
    @pytest.mark.parametrize(
        "path",
        ["../x", "/etc/passwd", "a/../../x", "", "samples/../../x", "a\\b", "C:\\x", "a\0b", "samples/.."],
    )
    def test_path_that_leaves_the_root(self, root, table, path):
        edit_table(root, table, lambda records: records[0].update(filename=path))
        message = refused(root)
        assert f"{table}.json" in message
        assert "below the data root" in message

    @pytest.mark.parametrize(("table", "field"), [("scene", "name"), ("sample_data", "token")])
    def test_name_that_cannot_stand_in_a_file_name(self, root, table, field):
        edit_table(root, table, lambda records: records[0].update({field: "../../x"}))
        assert "cannot serve as the name" in refused(root)

    def test_keyframe_without_lidar(self, root):
        edit_table(root, "sample_data", lambda records: records.pop(0) and None)
        assert "no keyframe of LIDAR_TOP" in refused(root)

    @pytest.mark.parametrize("table", [name for name in FIELDS if name != "category"])
    def test_two_records_with_one_token(self, root, table):
        """Word for word twice is harmless; two different ones are not."""
        edit_table(root, table, lambda records: records.append(dict(records[-1])))
        plan_nuscenes(root)
        edit_table(root, table, lambda records: records[-1].update(comment="another"))
        message = refused(root)
        assert f"{table}.json" in message
        assert "appears twice, for different records" in message

    @pytest.mark.parametrize("channel", ["LIDAR_TOP", "CAM_FRONT"])
    def test_two_keyframes_of_a_channel(self, root, channel):
        def double(records):
            record = next(r for r in records if f"/{channel}/" in r["filename"] and r["is_key_frame"])
            records.append({**record, "token": "f" * 32})

        edit_table(root, "sample_data", double)
        message = refused(root)
        assert f"has {channel} twice" in message
        assert "f" * 32 in message

    def test_two_scenes_of_one_name(self, root):
        edit_table(root, "scene", lambda records: records[1].update(name=records[0]["name"]))
        assert "scene.json: name" in refused(root)

    @pytest.mark.parametrize("index", [-1, 256, True, "3", 1.0, None])
    def test_without_category_indices_there_are_frames_and_no_truth(self, root, index):
        edit_table(root, "category", lambda records: records[3].update(index=index))
        frames, info = plan_nuscenes(root)
        assert frames
        assert info.categories == {}
        (note,) = info.notes
        assert "category.json" in note
        assert "comes with nuScenes-lidarseg" in note

    def test_categories_that_share_an_index(self, root):
        edit_table(root, "category", lambda records: records[3].update(index=4))
        _, info = plan_nuscenes(root)
        assert info.categories == {}
        assert "same index" in info.notes[0]

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_any_damage_gives_a_plan_or_one_line(self, pristine, tmp_path_factory, data):
        root = tmp_path_factory.mktemp("damage")
        shutil.copytree(pristine / VERSION, root / VERSION)
        (root / "samples").symlink_to(pristine / "samples")
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=6,
        )
        for _ in range(data.draw(st.integers(1, 3))):
            path = root / VERSION / f"{data.draw(st.sampled_from(sorted(FIELDS)))}.json"
            records = json.loads(path.read_text())
            record = data.draw(st.sampled_from(records))
            record[data.draw(st.sampled_from(sorted(record)))] = data.draw(values)
            path.write_text(json.dumps(records))
        with contextlib.suppress(UserError):
            plan_frames("nuscenes", root)


def test_the_devkit_is_not_loaded_for_a_plan(root):
    """It would turn off Pillow's limit on image size for the whole process."""
    import subprocess
    import sys

    code = (
        "import sys; from labelgen.datasets import plan_frames; plan_frames('nuscenes', sys.argv[1]);"
        "assert not {'nuscenes', 'cv2', 'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
    assert Image.MAX_IMAGE_PIXELS is None or Image.MAX_IMAGE_PIXELS > 0
