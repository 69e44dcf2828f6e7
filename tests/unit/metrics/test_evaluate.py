"""Scores of whole runs: what was labelled, what failed, what has no truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.errors import FrameError, UserError
from labelgen.core.records import PointLabels
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import load_panoptic, load_truth, plan_frames
from labelgen.metrics import Details, evaluate_run
from tests.helpers.nuscenes_root import make_dataroot

TAXONOMY = load_taxonomy("nuscenes16")


def point_labels(label: np.ndarray, views: np.ndarray | int = 1) -> PointLabels:
    n = len(label)
    small = {name: np.zeros(n, np.uint8) for name in ("confidence", "margin", "camera", "reason")}
    wide = {name: np.zeros(n, np.uint16) for name in ("instance", "region")}
    return PointLabels(label=label, views=np.broadcast_to(views, n).astype(np.uint8), **small, **wide)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = make_dataroot(tmp_path_factory.mktemp("run"), points=60)
    frames, info = plan_frames("nuscenes", root)
    table = TAXONOMY.train_id_table(info.categories)
    return root, frames, info, {f.frame_id: load_truth(root, f, table, 60) for f in frames}


def test_truth_scores_one(planned):
    root, frames, info, truth = planned
    found = evaluate_run(frames, info, root, lambda f: point_labels(truth[f]), TAXONOMY)
    assert found["miou"] == found["miou_all"] == found["coverage"] == 1.0
    assert found["points"] == sum(int((ids != 255).sum()) for ids in truth.values()) == 6 * 58
    assert (found["frames"], found["frames_without_labels"], found["frames_without_truth"]) == (6, 0, 0)
    assert found["by_cameras"]["1"]["points"] == found["points"]
    assert found["by_cameras"]["0"]["miou"] is None


def test_a_failed_frame_is_a_miss(planned):
    root, frames, info, truth = planned
    gone = frames[0].frame_id

    def labels_of(frame_id):
        return None if frame_id == gone else point_labels(truth[frame_id])

    found = evaluate_run(frames, info, root, labels_of, TAXONOMY)
    assert found["coverage"] == pytest.approx(5 / 6)
    assert found["miou_all"] < 1.0
    assert found["miou"] == 1.0
    assert found["frames_without_labels"] == 1


def test_by_number_of_cameras(planned):
    root, frames, info, truth = planned
    views = np.arange(60) % 4

    def labels_of(frame_id):
        wrong = np.where(views == 1, 15, truth[frame_id]).astype(np.uint8)
        return point_labels(np.where(views == 0, 255, wrong).astype(np.uint8), views)

    found = evaluate_run(frames, info, root, labels_of, TAXONOMY)["by_cameras"]
    assert found["0"]["coverage"] == 0.0
    assert found["1"]["coverage"] == 1.0
    assert found["1"]["miou"] < 0.5
    assert found["2+"]["miou"] == 1.0
    assert sum(part["points"] for part in found.values()) == 6 * 58


def test_frames_without_truth_are_told(planned):
    root, frames, info, truth = planned
    some = [replace(frames[0], label_path=None), *frames[1:]]
    found = evaluate_run(some, info, root, lambda f: point_labels(truth[f]), TAXONOMY)
    assert (found["frames"], found["frames_without_truth"]) == (5, 1)
    with pytest.raises(UserError, match="no truth"):
        evaluate_run([replace(f, label_path=None) for f in frames], info, root, lambda f: None, TAXONOMY)
    with pytest.raises(UserError, match="no truth"):
        evaluate_run(frames, replace(info, categories={}), root, lambda f: None, TAXONOMY)


def test_what_does_not_fit(planned):
    root, frames, info, truth = planned
    with pytest.raises(FrameError, match="60 labels for 59 points"):
        evaluate_run(frames, info, root, lambda f: point_labels(truth[f][:-1]), TAXONOMY)
    alien = np.full(60, 40, np.uint8)
    with pytest.raises(UserError, match=r"frame .* holds class 40.* taxonomy nuscenes16"):
        evaluate_run(frames, info, root, lambda f: point_labels(alien), TAXONOMY)
    with pytest.raises(UserError, match="taxonomy nuscenes16"):
        evaluate_run(frames, replace(info, categories={"cow": 1}), root, lambda f: None, TAXONOMY)
    with pytest.raises(FrameError, match="no such file"):
        evaluate_run(frames, info, root / "absent", lambda f: point_labels(truth[f]), TAXONOMY)


def test_three_protocols_and_trust(planned):
    root, frames, info, truth = planned
    found = evaluate_run(frames, info, root, lambda f: point_labels(truth[f]), TAXONOMY)
    present = sum(count > 0 for count in found["truth_points"].values())
    assert found["protocols"]["semantickitti"]["miou"] == pytest.approx(present / 16)
    assert found["protocols"]["slidr"]["miou"] == 1.0
    assert found["protocols"]["devkit"]["miou"] == 1.0  # where the truth is a class, there is a label
    assert found["confidence"]["ece"] == pytest.approx(1.0)  # all right, and sure of nothing
    assert found["panoptic"] is None  # no instances


def test_by_range_and_visibility(planned):
    root, frames, info, truth = planned
    xyz = np.zeros((60, 3), np.float32)
    xyz[:, 0] = np.repeat([5, 15, 30, 70], 15)
    views, in_image = np.arange(60) % 2, np.arange(60) % 4 < 2

    def labels_of(frame_id):
        return point_labels(np.where(xyz[:, 0] > 20, 255, truth[frame_id]).astype(np.uint8), views)

    found = evaluate_run(frames, info, root, labels_of, TAXONOMY, lambda f: Details(xyz, in_image))
    assert list(found["by_range"]) == ["0-10 m", "10-20 m", "20-40 m", "40+ m"]
    assert [part["coverage"] for part in found["by_range"].values()] == [1, 1, 0, 0]
    known = {name: part["points"] for name, part in found["by_visibility"].items()}
    both = [(truth[f.frame_id] != 255) for f in frames]
    assert known["seen"] == sum(int((k & (views > 0)).sum()) for k in both)
    assert known["hidden"] == sum(int((k & (views == 0) & in_image).sum()) for k in both)
    assert known["outside"] == sum(int((k & (views == 0) & ~in_image).sum()) for k in both)


def test_instances_are_scored_by_both_devkits(planned):
    root, frames, info, truth = planned
    table = TAXONOMY.train_id_table(info.categories)
    numbers = {f.frame_id: load_panoptic(root, f, table, 60)[1] for f in frames}

    def labels_of(frame_id):
        things = truth[frame_id] < 10
        number = np.where(things, numbers[frame_id] % 1000 + 1, 0).astype(np.uint16)
        return replace(point_labels(truth[frame_id]), instance=number)

    found = evaluate_run(frames, info, root, labels_of, TAXONOMY)["panoptic"]
    assert (found["devkit"]["min_points"], found["semantickitti"]["min_points"]) == (15, 50)
    assert "novel things" not in found["devkit"]["groups"]
    for score in found.values():
        assert score["classes"]["car"]["pq"] == 1.0
        assert score["classes"]["car"]["tp"] == sum(bool((t == 3).any()) for t in truth.values())
        assert score["pq"] == pytest.approx(sum(c["tp"] > 0 for c in score["classes"].values()) / 16)


def test_a_failed_frame_is_a_miss_in_panoptic_scores_too(planned):
    root, frames, info, truth = planned

    def labels_of(frame_id):
        number = np.where(truth[frame_id] < 10, 1, 0).astype(np.uint16)
        return replace(point_labels(truth[frame_id]), instance=number)

    gone = frames[0].frame_id
    whole = evaluate_run(frames, info, root, labels_of, TAXONOMY)["panoptic"]["devkit"]["classes"]
    found = evaluate_run(frames, info, root, lambda f: None if f == gone else labels_of(f), TAXONOMY)
    for name, score in found["panoptic"]["devkit"]["classes"].items():
        number = TAXONOMY.names.index(name)
        large = int(np.count_nonzero(truth[gone] == number) >= 15)
        assert score["fn"] == large
        assert score["tp"] == whole[name]["tp"] - bool((truth[gone] == number).any())


def test_stuff_is_one_segment_whatever_number_the_run_gives_it(planned):
    root, frames, info, truth = planned

    def labels_of(frame_id):
        return replace(point_labels(truth[frame_id]), instance=np.arange(60).astype(np.uint16) % 7 + 1)

    found = evaluate_run(frames, info, root, labels_of, TAXONOMY)["panoptic"]["devkit"]["classes"]
    for spec in TAXONOMY.classes:
        if not spec.thing and found[spec.name]["tp"]:
            assert found[spec.name]["pq"] == 1.0
    assert found["car"]["pq"] < 1.0


def test_classes_of_panoptic_scores_are_those_of_the_panoptic_truth(planned, tmp_path):
    """As in nuscenes-devkit: what is noise in the panoptic files alone does not count there."""
    root, frames, info, truth = planned
    one = frames[0]
    car = truth[one.frame_id] == 3
    assert car.sum() >= 5
    data = np.load(root / one.panoptic_path)["data"]
    np.savez(tmp_path / "p.npz", data=np.where(car, 0, data))
    for path in (one.label_path, one.lidar_path):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((root / path).read_bytes())

    def labels_of(frame_id):
        return replace(point_labels(truth[frame_id]), instance=(truth[frame_id] < 10).astype(np.uint16))

    changed = [replace(one, panoptic_path="p.npz")]
    found = evaluate_run(changed, info, tmp_path, labels_of, TAXONOMY)
    assert found["panoptic"]["devkit"]["classes"]["car"] == {
        "pq": 0.0, "sq": 0.0, "rq": 0.0, "iou": 0.0, "tp": 0, "fp": 0, "fn": 0,
    }  # fmt: skip
    assert found["iou"]["car"] == 1.0


def test_base_and_novel_classes_need_true_instances(planned):
    root, frames, info, truth = planned
    novel = (3, 15)
    found = evaluate_run(frames, info, root, lambda f: point_labels(truth[f]), TAXONOMY, novel=novel)
    groups = found["panoptic"]["devkit"]["groups"]  # the run has no instances: every thing is one segment
    assert [groups[name]["classes"] for name in ("novel things", "novel stuff", "base things")] == [1, 1, 9]
    bare = [replace(f, panoptic_path=None) for f in frames]
    with pytest.raises(UserError, match="no true instances"):
        evaluate_run(bare, info, root, lambda f: point_labels(truth[f]), TAXONOMY, novel=novel)
