"""One door: what is stored and what the data set has, and one text for each fault."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import labelgen
from labelgen.config import RunConfig
from labelgen.datasets import read_frames, write_frames
from labelgen.datasets.roots import clouds, images
from labelgen.core.errors import FrameError, RawFileError, UserError
from labelgen.runs import Run, scenes_of
from labelgen.shards import Parent, StoredRun, create_run, write_shard
from tests.unit.runs.conftest import POINTS, write_run


def change_plan(run: Path, change) -> None:
    frames, info = read_frames(run / "frames.parquet")
    write_frames(run / "frames.parquet", *change(frames, info))


def derive(run: Path, folder: Path, operation: str = "afi") -> Path:
    """A derived run whose labels are all class 3, without a plan of its own."""
    parent = StoredRun(run)
    config = parent.info.config | {"derived": {"operation": operation}}
    create_run(
        folder,
        fingerprint="d" * 32,
        config=config,
        taxonomy=parent.info.taxonomy,
        models=[],
        parent=Parent(path=str(run), fingerprint=parent.info.fingerprint),
    )
    records = [frame.record() for frame in parent.stream()]
    labels = [replace(one.labels, label=np.full(POINTS, 3, np.uint8)) for one in records]
    records = [replace(one, labels=made) for one, made in zip(records, labels, strict=True)]
    write_shard(folder, records, [], fingerprint="d" * 32, only=("points",))
    shutil.copy(run / "frames.parquet", folder)
    return folder


def test_a_frame_gives_what_is_stored_and_what_the_data_set_has(made):
    root, folder = made
    run, stored = labelgen.open_run(folder), StoredRun(folder)
    assert (run.frames, run.root, run.parent) == (stored.frames, root, None)
    assert run.taxonomy.name == "nuscenes16"
    assert run.settings == RunConfig().settle("nuscenes16", run.dataset.ego_box)
    for frame_id in run.frames:
        frame, below = run.frame(frame_id), stored.frame(frame_id)
        np.testing.assert_array_equal(frame.labels.label, below.labels.label)
        np.testing.assert_array_equal(frame.views.uv, below.views.uv)
        assert frame.regions.rle == below.regions.rle
        np.testing.assert_array_equal(frame.semantics.class_scores, below.semantics.class_scores)
        planned = frame.planned
        assert (planned.frame_id, planned.scene_id) == (frame_id, frame.scene_id)
        raw = np.fromfile(root / planned.lidar_path, np.float32).reshape(-1, 5)
        np.testing.assert_array_equal(frame.xyz, raw[:, :3])
        np.testing.assert_array_equal(frame.intensity, raw[:, 3])
        assert below.xyz is None
        assert frame.record().xyz is None, "a record is what is stored"
        for number, camera in enumerate(planned.cameras):
            with Image.open(root / camera.image_path) as image:
                np.testing.assert_array_equal(frame.image(number), np.asarray(image.convert("RGB")))
            np.testing.assert_array_equal(frame.image(camera.name), frame.image(number))
        ids = np.fromfile(root / str(planned.label_path), np.uint8)
        assert frame.has_truth
        np.testing.assert_array_equal(frame.truth, run.taxonomy.train_id_table(run.dataset.categories)[ids])
        classes, numbers = frame.objects
        panoptic = np.load(root / str(planned.panoptic_path))["data"]
        np.testing.assert_array_equal(numbers, panoptic)
        assert (len(classes), classes.dtype) == (POINTS, np.uint8)


def test_points_that_are_stored_are_not_looked_for(made, tmp_path):
    root, _ = made
    run = labelgen.open_run(write_run(root, tmp_path / "run", points=True))
    moved = root.rename(root.with_name("away"))
    try:
        frame = run.frame(run.frames[0])
        raw = np.fromfile(moved / frame.planned.lidar_path, np.float32).reshape(-1, 5)
        np.testing.assert_array_equal(frame.xyz, raw[:, :3])
        np.testing.assert_array_equal(frame.record().xyz, raw[:, :3])
        np.testing.assert_array_equal(frame.intensity, raw[:, 3])
    finally:
        moved.rename(root)


def test_opening_and_reading_labels_looks_at_no_plan_and_no_raw_file(made, run):
    (run / "frames.parquet").unlink()
    opened = labelgen.open_run(run)
    assert opened.frame(opened.frames[0]).labels.label.shape == (POINTS,)
    assert len(opened.taxonomy) == 16
    text = f"no file {run}/frames.parquet; running the same job again writes it"
    for ask in (
        lambda: opened.plan,
        lambda: opened.root,
        lambda: opened.frame(opened.frames[0]).xyz,
        lambda: opened.frame(opened.frames[0]).truth,
        lambda: opened.frame(opened.frames[0]).image(0),
        lambda: labelgen.open_run(run, made[0]),
        lambda: scenes_of(opened),
    ):
        with pytest.raises(UserError) as found:
            ask()
        assert str(found.value) == text


def test_a_frame_that_the_plan_lacks(run):
    change_plan(run, lambda frames, info: (frames[1:], info))
    opened = labelgen.open_run(run)
    (lost,) = set(opened.frames) - opened.plan.keys()
    frame = opened.frame(lost)
    assert len(frame.labels) == POINTS
    text = f"{run}/frames.parquet lacks frame {lost}; running the same job again rewrites that file"
    for ask in (
        lambda: frame.planned,
        lambda: frame.xyz,
        lambda: frame.truth,
        lambda: frame.image("CAM_FRONT"),
        lambda: scenes_of(opened),
    ):
        with pytest.raises(UserError) as found:
            ask()
        assert str(found.value) == text


def test_a_wrong_root_is_found_when_it_is_given(made, tmp_path):
    _, folder = made
    wrong = tmp_path / "wrong"
    with pytest.raises(UserError) as found:
        labelgen.open_run(folder, wrong)
    text = f"the data root {wrong} is not a folder that exists; give the right one with --dataroot"
    assert str(found.value) == text
    wrong.mkdir()
    with pytest.raises(UserError, match=f"the data root {wrong} holds none of the run's files, such as"):
        labelgen.open_run(folder, str(wrong))


def test_a_root_that_is_gone_is_found_when_it_is_needed(made):
    root, folder = made
    opened = labelgen.open_run(folder)
    frame = opened.frame(opened.frames[0])
    moved = root.rename(root.with_name("away"))
    text = f"the data root {root} is not a folder that exists; give the right one with --dataroot"
    try:
        assert opened.root == root
        assert len(opened.frame(opened.frames[0]).labels) == POINTS
        asked = (lambda: frame.xyz, lambda: frame.truth, lambda: frame.image(0), lambda: opened.need(clouds))
        for ask in asked:
            with pytest.raises(UserError) as found:
                ask()
            assert str(found.value) == text
        elsewhere = labelgen.open_run(folder, moved)
        assert elsewhere.frame(frame.frame_id).xyz.shape == (POINTS, 3)
        assert elsewhere.need(images) == moved
    finally:
        moved.rename(root)


def test_one_file_that_is_missing_fails_its_frame_alone(made, tmp_path):
    root, folder = made
    opened = labelgen.open_run(folder)
    one, other = (opened.frame(frame_id) for frame_id in opened.frames[:2])
    cloud = root / one.planned.lidar_path
    away = cloud.rename(tmp_path / "away")
    try:
        with pytest.raises(RawFileError, match=f"frame {one.frame_id}.*{cloud.name}.*searched below {root}"):
            _ = one.xyz
        assert len(other.xyz) == POINTS
    finally:
        away.rename(cloud)
    assert len(one.xyz) == POINTS


def test_a_frame_without_truth_says_so_whatever_the_root(run):
    nowhere = str(run / "nowhere")

    def bare(frames, info):
        return [replace(frame, label_path=None, panoptic_path=None) for frame in frames], replace(
            info, dataroot=nowhere
        )

    change_plan(run, bare)
    opened = labelgen.open_run(run)
    frame = opened.frame(opened.frames[0])
    assert not frame.has_truth
    with pytest.raises(FrameError, match=f"frame {frame.frame_id}: the data set has no truth for this frame"):
        _ = frame.truth
    with pytest.raises(FrameError, match="the data set has no instances for this frame"):
        _ = frame.objects


def test_no_such_camera(made):
    opened = labelgen.open_run(made[1])
    frame = opened.frame(opened.frames[0])
    for wrong in ("CAM", 6, -1):
        with pytest.raises(ValueError, match="; choose from CAM_FRONT, "):
            frame.image(wrong)


def test_a_derived_run_lies_over_its_parent(made, tmp_path):
    root, folder = made
    derived = derive(folder, tmp_path / "derived")
    moved = root.rename(root.with_name("away"))
    try:
        opened = labelgen.open_run(derived, moved)
        assert isinstance(opened.parent, Run)
        assert opened.parent.root == opened.root == moved
        frame, above = opened.frame(opened.frames[0]), opened.parent.frame(opened.frames[0])
        assert (frame.labels.label == 3).all()
        assert not (above.labels.label == 3).all()
        np.testing.assert_array_equal(frame.xyz, above.xyz)
        np.testing.assert_array_equal(frame.views.uv, above.views.uv)
        assert opened.settings == opened.parent.settings
    finally:
        moved.rename(root)


@pytest.mark.parametrize(
    ("operation", "voted"), [("afi", False), ("fused", False), ("revote", True), ("retrieval", True)]
)
def test_whether_the_labels_are_those_of_the_vote(made, tmp_path, operation, voted):
    opened = labelgen.open_run(derive(made[1], tmp_path / "derived", operation))
    assert (opened.operation, opened.voted) == (operation, voted)
    assert (opened.parent.operation, opened.parent.voted) == ("", True)
    again = labelgen.open_run(derive(tmp_path / "derived", tmp_path / "again", "revote"))
    assert again.voted is voted, "what was fused below is not voted above"


def test_labels_of_another_tool_were_not_voted(run):
    content = json.loads((run / "run.json").read_text())
    content.pop("checksum", None)
    content["config"] = {"imported": "lidarseg"}
    (run / "run.json").write_text(json.dumps(content))
    opened = labelgen.open_run(run)
    assert not opened.voted
    with pytest.raises(UserError, match=r"run.json: config: imported: there is no such setting"):
        _ = opened.settings


def test_scenes_are_the_frames_by_time(made):
    opened = labelgen.open_run(made[1])
    scenes = scenes_of(opened)
    assert [f for scene in scenes for f in scene.frame_ids] == list(opened.frames)
    assert len(scenes) == 2
    for scene in scenes:
        times = [frame.planned.timestamp_us for frame in scene]
        assert times == sorted(times)
        assert {frame.scene_id for frame in scene} == {scene.scene_id}
        assert scene.has_poses


def test_a_run_without_cameras_travels_light(made):
    opened = labelgen.open_run(made[1])
    lean = opened.without_cameras()
    assert all(not frame.cameras for frame in lean.plan.values())
    assert all(len(frame.cameras) == 6 for frame in opened.plan.values())
    there = pickle.loads(pickle.dumps(lean))
    frame_id = opened.frames[0]
    np.testing.assert_array_equal(there.frame(frame_id).xyz, opened.frame(frame_id).xyz)
    assert len(pickle.dumps(lean)) < len(pickle.dumps(opened)) - 5000


def test_opening_a_run_loads_nothing_heavy(made):
    code = (
        "import sys, labelgen\n"
        f"run = labelgen.open_run({str(made[1])!r}, {str(made[0])!r})\n"
        "frame = run.frame(run.frames[0])\n"
        "frame.labels, frame.views, frame.xyz, frame.truth, frame.planned, run.taxonomy\n"
        "bad = {'torch', 'ray', 'transformers', 'numba', 'scipy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'{bad} came along' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
