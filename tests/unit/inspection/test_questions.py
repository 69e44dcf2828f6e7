"""Errors by stage and type, worst frames, differences between runs, range images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED, Failure, FrameRecord
from labelgen.core.taxonomy import load_taxonomy
from labelgen.inspection.diff import diff_runs
from labelgen.inspection.failures import count_errors
from labelgen.inspection.range_image import COLUMNS, ROWS, draw_range
from labelgen.inspection.worst import worst_frames
from labelgen.runs import open_run
from labelgen.shards import create_run, write_shard
from tests.helpers.runs import FINGERPRINT, some_records

TAXONOMY = load_taxonomy("nuscenes16")


def make(path: Path, records: list[FrameRecord], failures: list[Failure] | None = None) -> Path:
    create_run(path, fingerprint=FINGERPRINT, config={}, taxonomy=TAXONOMY.to_dict(), models=[])
    write_shard(path, records, failures or [], fingerprint=FINGERPRINT)
    return path


def with_label(record: FrameRecord, label: np.ndarray, confidence: int = 200) -> FrameRecord:
    labels = replace(
        record.labels,
        label=label.astype(np.uint8),
        confidence=np.full(len(label), confidence, np.uint8),
    )
    return replace(record, labels=labels)


def test_errors_are_counted(tmp_path: Path) -> None:
    failures = [
        Failure(f"f{n}", "s", stage, kind, f"message {n}", "")
        for n, (stage, kind) in enumerate([("load", "FrameError")] * 3 + [("vote", "ValueError")])
    ]
    records = [replace(r, notes=(f"samples/{r.frame_id}.jpg: no such file",)) for r in some_records(count=2)]
    counts = count_errors(open_run(make(tmp_path, records, failures)))
    assert [(e["stage"], e["error_type"], e["frames"]) for e in counts["errors"]] == [
        ("load", "FrameError", 3),
        ("vote", "ValueError", 1),
    ]
    assert counts["errors"][1]["message"] == "message 3"
    assert counts["notes"] == [{"note": "no such file", "frames": 2, "frame_id": "frame-0"}]
    assert (counts["frames"], counts["failed"]) == (2, 4)


def test_worst_by_truth_and_by_confidence(tmp_path: Path) -> None:
    truth = np.repeat([0, 3, 10], 20)
    right = [60, 45, 30]
    records = [
        with_label(r, np.where(np.arange(60) < n, truth, 5), confidence)
        for r, n, confidence in zip(some_records(count=3, points=60), right, [10, 100, 250], strict=True)
    ]
    run = open_run(make(tmp_path, records))
    by_truth = worst_frames(run, TAXONOMY.names, 3, lambda frame_id: truth.astype(np.uint8))
    assert [entry["frame_id"] for entry in by_truth] == ["frame-2", "frame-1", "frame-0"]
    assert by_truth[2]["score"] == 1.0
    assert {entry["by"] for entry in by_truth} == {"miou"}
    by_confidence = worst_frames(run, TAXONOMY.names, 2)
    assert [entry["frame_id"] for entry in by_confidence] == ["frame-0", "frame-1"]
    assert by_confidence[0]["score"] == pytest.approx(10 / 255, abs=1e-3)


def test_differences_are_counted_by_pair(tmp_path: Path) -> None:
    label = np.array([0] * 10 + [3] * 10 + [UNLABELLED] * 10)
    other = label.copy()
    other[:4] = 3  # barrier to car
    other[25:] = 10  # unlabelled to driveable surface
    records = some_records(count=3, points=30)
    run_a = open_run(make(tmp_path / "a", [with_label(r, label) for r in records]))
    changed = [with_label(records[0], label), with_label(records[1], other)]
    run_b = open_run(make(tmp_path / "b", changed))
    diff = diff_runs(run_a, run_b)
    assert (diff["frames"], diff["points"], diff["changed"], diff["changed_frames"]) == (2, 60, 9, 1)
    assert diff["only_a"] == ["frame-2"]
    assert diff["pairs"] == [
        {"from": "unlabelled", "to": "driveable_surface", "points": 5, "frames": 1, "examples": ["frame-1"]},
        {"from": "barrier", "to": "car", "points": 4, "frames": 1, "examples": ["frame-1"]},
    ]
    assert diff_runs(run_a, run_a)["pairs"] == []


def test_classes_are_compared_by_name(tmp_path: Path) -> None:
    """The same names in another order are no difference."""
    data = TAXONOMY.to_dict()
    data["classes"] = [spec | {"id": place} for place, spec in enumerate(reversed(data["classes"]))]
    label = np.array([0, 3, 15, UNLABELLED] * 5)
    records = some_records(count=1, points=20)
    run_a = open_run(make(tmp_path / "a", [with_label(records[0], label)]))
    create_run(tmp_path / "b", fingerprint=FINGERPRINT, config={}, taxonomy=data, models=[])
    turned = with_label(records[0], np.where(label == UNLABELLED, UNLABELLED, 15 - label))
    write_shard(tmp_path / "b", [turned], [], fingerprint=FINGERPRINT)
    assert diff_runs(run_a, open_run(tmp_path / "b"))["changed"] == 0


def test_runs_that_do_not_go_together(tmp_path: Path) -> None:
    run_a = open_run(make(tmp_path / "a", some_records(count=1, points=30)))
    elsewhere = [replace(r, frame_id="other") for r in some_records(count=1)]
    with pytest.raises(UserError, match="no frame in common"):
        diff_runs(run_a, open_run(make(tmp_path / "b", elsewhere)))
    with pytest.raises(UserError, match="30 points in one run and 31"):
        diff_runs(run_a, open_run(make(tmp_path / "c", some_records(count=1, points=31))))


def test_range_image_has_the_front_in_the_middle() -> None:
    forward = np.array([0.0, 1.0])
    xyz = np.array([[0, 10, 0], [-10, 0, 0], [10, 0, 0], [0, 20, 0], [np.nan, 0, 0]], np.float32)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [1, 1, 1]], np.uint8)
    picture = draw_range(xyz, colors, np.zeros(5, bool), forward, width=COLUMNS, height=ROWS)

    def across(color: list[int]) -> float:
        return float(np.argwhere((picture == color).all(-1))[:, 1].mean()) / COLUMNS

    assert across([255, 0, 0]) == pytest.approx(0.5, abs=0.01)
    assert across([0, 255, 0]) == pytest.approx(0.25, abs=0.01)  # left
    assert across([0, 0, 255]) == pytest.approx(0.75, abs=0.01)
    assert not (picture == [9, 9, 9]).all(-1).any()  # behind the nearer one
    assert draw_range(None, colors, np.zeros(5, bool), forward, width=30, height=20).shape == (20, 30, 3)
