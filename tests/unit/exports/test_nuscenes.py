"""nuScenes exports: read back as trainers read them, and passed by the devkit's validator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.exports import export_run
from labelgen.exports.nuscenes import compact_instances
from labelgen.runs import open_run
from labelgen.shards import create_run, merge_plan, write_shard
from tests.helpers.nuscenes_root import CATEGORIES, VERSION
from tests.helpers.runs import FINGERPRINT, make_failure
from tests.unit.exports.conftest import Labelled

#: General category to challenge id, typed off the challenge's page; 0 is ignored.
MERGED = {
    "movable_object.barrier": 1,
    "vehicle.bicycle": 2,
    "vehicle.bus.bendy": 3,
    "vehicle.bus.rigid": 3,
    "vehicle.car": 4,
    "vehicle.construction": 5,
    "vehicle.motorcycle": 6,
    "human.pedestrian.adult": 7,
    "movable_object.trafficcone": 8,
    "vehicle.trailer": 9,
    "vehicle.truck": 10,
    "flat.driveable_surface": 11,
    "flat.other": 12,
    "flat.sidewalk": 13,
    "flat.terrain": 14,
    "static.manmade": 15,
    "static.vegetation": 16,
}


def test_the_overlay_is_a_data_root_with_our_labels(labelled: Labelled, tmp_path: Path) -> None:
    from nuscenes import NuScenes

    out = tmp_path / "overlay"
    before = {path: path.stat().st_mtime_ns for path in labelled.root.rglob("*")}
    export_run(open_run(labelled.run), "lidarseg-overlay", out)
    nusc = NuScenes(VERSION, str(out), verbose=False)
    general = {number: MERGED.get(name, 0) for number, name in enumerate(CATEGORIES)}
    for frame_id, record in labelled.records.items():
        path = out / nusc.get("lidarseg", frame_id)["filename"]
        values = np.fromfile(path, np.uint8)
        read = np.array([general[value] for value in values.tolist()])
        want = np.where(record.labels.label == UNLABELLED, 0, record.labels.label.astype(int) + 1)
        assert np.array_equal(read, want)
        assert not path.is_symlink()
        lidar = nusc.get("sample_data", frame_id)["filename"]
        assert (out / lidar).resolve() == (labelled.root / lidar).resolve()
    assert {path: path.stat().st_mtime_ns for path in labelled.root.rglob("*")} == before
    assert not (out / "panoptic").exists()


def test_the_overlay_labels_itself(labelled: Labelled, tmp_path: Path) -> None:
    """Our own reader of nuScenes truth takes it for truth."""
    from labelgen.datasets import load_truth, plan_frames

    out = tmp_path / "overlay"
    export_run(open_run(labelled.run), "lidarseg-overlay", out)
    frames, info = plan_frames("nuscenes", out)
    table = labelled.taxonomy.train_id_table(info.categories)
    for frame in frames:
        label = labelled.records[frame.frame_id].labels.label
        assert np.array_equal(load_truth(out, frame, table, len(label)), label)


def test_a_lidarseg_submission_passes_the_devkit_s_validator(labelled: Labelled, tmp_path: Path) -> None:
    from nuscenes import NuScenes
    from nuscenes.eval.lidarseg.validate_submission import validate_submission

    run = open_run(labelled.run)
    with pytest.raises(UserError, match=r"have no label.*--fill"):
        export_run(run, "nuscenes-lidarseg", tmp_path / "refused")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="--fill tree"):
        export_run(run, "nuscenes-lidarseg", tmp_path / "refused", fill="tree")
    for fill in ("nearest", "manmade"):
        out = tmp_path / fill
        export_run(run, "nuscenes-lidarseg", out, fill=fill, split="mini_val")
        nusc = NuScenes(VERSION, str(labelled.root), verbose=False)
        validate_submission(nusc=nusc, results_folder=str(out), eval_set="mini_val", verbose=False)
        for frame_id, record in labelled.records.items():
            values = np.fromfile(out / f"lidarseg/mini_val/{frame_id}_lidarseg.bin", np.uint8)
            known = record.labels.label != UNLABELLED
            assert np.array_equal(values[known], record.labels.label[known] + 1)
            if fill == "manmade":
                assert (values[~known] == MERGED["static.manmade"]).all()
    meta = json.loads((tmp_path / "nearest/mini_val/submission.json").read_text())["meta"]
    assert sorted(meta) == ["use_camera", "use_external", "use_lidar", "use_map", "use_radar"]


def test_nearest_is_nearest(labelled: Labelled) -> None:
    from labelgen.exports.fill import filled

    run = open_run(labelled.run)
    frame = run.frame(run.frames[0])
    label, xyz = frame.labels.label, frame.xyz
    got = filled(frame, "nearest")
    known = np.flatnonzero((label != UNLABELLED) & np.isfinite(xyz).all(1))
    for point in np.flatnonzero(label == UNLABELLED)[:20]:
        distance = np.linalg.norm(xyz[known] - np.nan_to_num(xyz[point]), axis=1)
        assert got[point] in label[known[distance <= distance.min() + 1e-6]]


@pytest.mark.parametrize("task", ["segmentation", "tracking"])
def test_a_panoptic_submission(labelled: Labelled, tmp_path: Path, task: str) -> None:
    out = tmp_path / "out"
    export_run(open_run(labelled.run), "nuscenes-panoptic", out, split="mini_val", task=task)
    assert json.loads((out / "mini_val/submission.json").read_text())["meta"]["task"] == task
    things = np.array([spec.thing for spec in labelled.taxonomy.classes])
    across: dict[tuple[str, int, int], int] = {}
    for frame_id, record in labelled.records.items():
        with np.load(out / f"panoptic/mini_val/{frame_id}_panoptic.npz", allow_pickle=False) as stored:
            values = stored["data"]
        assert values.dtype == np.uint16
        label, instance = record.labels.label, record.labels.instance
        known = label != UNLABELLED
        assert (values[~known] == 0).all()
        assert np.array_equal(values[known] // 1000, label[known] + 1)
        thing = known & things[np.where(known, label, 0)]
        assert (values[known & ~thing] % 1000 == 0).all()
        assert (values[thing] % 1000 >= 1).all()
        for class_id, mine, number in zip(label[thing], instance[thing], values[thing] % 1000, strict=True):
            key = (record.scene_id if task == "tracking" else frame_id, int(class_id), int(mine))
            assert across.setdefault(key, int(number)) == number
    assert len(set(across.values())) > 1


@pytest.mark.parametrize("task", ["segmentation", "tracking"])
def test_the_devkit_s_evaluator_takes_a_panoptic_submission(
    labelled: Labelled, tmp_path: Path, task: str
) -> None:
    """The truth, exported as if it were a run's labels, is perfect in every class that occurs."""
    from nuscenes import NuScenes
    from nuscenes.eval.panoptic.evaluate import NuScenesPanopticEval

    table = labelled.taxonomy.train_id_table(labelled.info.categories)
    records, occur = [], set()
    for frame in labelled.frames:
        with np.load(labelled.root / str(frame.panoptic_path), allow_pickle=False) as stored:
            truth = stored["data"]
        label = table[truth // 1000]
        occur |= set(label[label != UNLABELLED].tolist())
        record = labelled.records[frame.frame_id]
        true = replace(record.labels, label=label, instance=(truth % 1000).astype(np.uint16))
        records.append(replace(record, labels=true))
    run = tmp_path / "run"
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=labelled.taxonomy.to_dict(), models=[])
    merge_plan(run, labelled.frames, labelled.info)
    write_shard(run, records, [], fingerprint=FINGERPRINT)
    export_run(open_run(run), "nuscenes-panoptic", tmp_path / "out", split="mini_val", task=task)
    evaluator = NuScenesPanopticEval(
        NuScenes(VERSION, str(labelled.root), verbose=False),
        *(str(tmp_path / "out"), "mini_val", task),
        min_inst_points=1,
        out_dir=str(tmp_path),
    )
    scores = [evaluator.evaluate_segmentation()]
    names = [labelled.taxonomy.names[class_id] for class_id in sorted(occur)]
    assert len(names) > 3
    assert [scores[0][name]["PQ"] for name in names] == pytest.approx([1.0] * len(names))
    if task == "tracking":
        tracked = evaluator.evaluate_tracking()
        assert [tracked[name]["PTQ"] for name in names] == pytest.approx([1.0] * len(names))


def test_too_many_instances_are_refused_not_wrapped() -> None:
    label = np.zeros(1200, np.uint8)
    things = np.ones(256, bool)
    few = np.arange(999, dtype=np.uint16) * 60
    from collections import defaultdict

    got = compact_instances(label[:999], few, things, defaultdict(dict), "f")
    assert sorted(got.tolist()) == list(range(1, 1000))
    with pytest.raises(UserError, match="1200 instances"):
        compact_instances(label, np.arange(1200, dtype=np.uint16), things, defaultdict(dict), "f")


def test_a_run_with_failed_frames_is_no_submission(labelled: Labelled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=labelled.taxonomy.to_dict(), models=[])
    merge_plan(run, labelled.frames, labelled.info)
    *records, last = labelled.records.values()
    write_shard(run, records, [make_failure(last.frame_id, last.source_id)], fingerprint=FINGERPRINT)
    for name in ("nuscenes-lidarseg", "nuscenes-panoptic"):
        with pytest.raises(UserError, match=f"1 frames failed, such as {last.frame_id}"):
            export_run(open_run(run), name, tmp_path / "out", fill="car")
    assert export_run(open_run(run), "lidarseg-overlay", tmp_path / "out")["frames"] == len(records)


def test_nothing_is_written_over(labelled: Labelled, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("mine")
    run = open_run(labelled.run)
    with pytest.raises(UserError, match="not empty"):
        export_run(run, "lidarseg-overlay", tmp_path / "there")
    with pytest.raises(UserError, match="not empty"):
        export_run(run, "lidarseg-overlay", labelled.root)
    with pytest.raises(UserError, match="unknown format"):
        export_run(run, "lidarsegg", tmp_path / "x")
    with pytest.raises(UserError, match="folder's name"):
        export_run(run, "nuscenes-panoptic", tmp_path / "x", split="../up")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
