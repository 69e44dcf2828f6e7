"""The main job from tables to shards, on both runners."""

import json
from dataclasses import fields

import numpy as np
import pytest

import labelgen
from labelgen.core.records import FrameRecord
from labelgen.datasets import plan_frames
from tests.e2e.conftest import QUICK


def assert_same_record(a: FrameRecord, b: FrameRecord) -> None:
    for field in fields(FrameRecord):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if field.name == "seconds":
            continue
        if hasattr(one, "_SPEC"):
            for name in one._SPEC:
                x, y = getattr(one, name), getattr(other, name)
                assert (x is None) == (y is None), name
                if x is not None:
                    assert x.dtype == y.dtype
                    assert x.tobytes() == y.tobytes(), f"{field.name}.{name}"
        elif isinstance(one, np.ndarray):
            assert one.tobytes() == other.tobytes(), field.name
        else:
            assert one == other, field.name
    assert a.regions.rle == b.regions.rle


def test_both_runners_give_equal_arrays_for_every_frame(shell, job, dataroot, tmp_path):
    first = shell("run", *job, *QUICK, "--json")
    assert first.code == 0, first.err
    job[job.index("--output") + 1] = str(tmp_path / "by-ray")
    second = shell("run", *job, "--runner", "ray", "--set", "runtime.frames_per_shard=1", "--json")
    assert second.code == 0, second.err

    frames, _ = plan_frames("nuscenes", dataroot)
    run, other = labelgen.open_run(tmp_path / "run"), labelgen.open_run(tmp_path / "by-ray")
    assert set(run.frames) == set(other.frames) == {frame.frame_id for frame in frames}
    for frame in frames:
        record = run.frame(frame.frame_id).record()
        assert_same_record(record, other.frame(frame.frame_id).record())
        assert len(record.labels) == 500
        assert len(record.regions) > 0


def test_a_second_call_does_no_work_and_says_so(shell, job, tmp_path):
    assert shell("run", *job, *QUICK).code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "shards").rglob("*")}
    again = shell("run", *job, *QUICK, "--json")
    assert again.code == 0
    assert (again.json["frames"], again.json["todo"], again.json["labelled"]) == (6, 0, 0)
    assert "0 to do" in again.err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "shards").rglob("*")}


def test_plan_tells_what_is_left_and_writes_nothing(shell, job, tmp_path):
    before = shell("plan", *job, "--json").json
    assert (before["frames"], before["done"], before["todo"], before["images"]) == (6, 0, 6, 36)
    assert before["estimated_bytes"] > 0
    assert not (tmp_path / "run").exists()
    shell("run", *job, *QUICK, "--frames", "0:4")
    after = shell("plan", *job, "--json").json
    assert (after["frames"], after["done"], after["todo"]) == (6, 4, 2)


def test_slices_into_one_run_add_up(shell, job, tmp_path):
    for part in ("0:1", "1:4", "4:", "2:5"):
        result = shell("run", *job, *QUICK, "--frames", part)
        assert result.code == 0, result.err
    run = labelgen.open_run(tmp_path / "run")
    assert len(run.frames) == len(set(run.frames)) == 6
    frames, _ = labelgen.datasets.read_frames(tmp_path / "run" / "frames.parquet")
    assert sorted(frame.frame_id for frame in frames) == sorted(run.frames)


def test_inspect_and_evaluate_read_what_was_written(shell, job, tmp_path):
    shell("run", *job, *QUICK)
    summary = shell("inspect", tmp_path / "run", "--json").json
    assert (summary["frames"], summary["failed"], summary["points"]) == (6, 0, 3000)
    scores = shell("evaluate", tmp_path / "run", "--json").json
    assert 0 <= scores["miou"] <= 1
    assert 0 < scores["coverage"] <= 1
    picture = tmp_path / "frame.png"
    assert shell("inspect", tmp_path / "run", "--frame", "0", "--out", picture).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_run_json_records_models_and_settings(shell, job, tmp_path):
    shell("run", *job, *QUICK, "--frames", "0:1")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["regions"]["backend"] == "superpixel"
    assert len(record["taxonomy"]["classes"]) == 16
    for model in record["models"]:
        assert {"name", "revision", "licence", "weights"} <= model.keys()


def test_the_report_and_a_picture_are_written_and_named_in_the_last_line(shell, job, tmp_path):
    result = shell("run", *job, "--runner", "sequential", "--frames", "0:2")
    report = tmp_path / "run" / "report" / "index.html"
    assert report.exists()
    assert str(report) in result.out.strip().splitlines()[-1]


@pytest.mark.parametrize("command", ["plan", "run", "inspect", "evaluate", "report", "verify", "index"])
def test_help_has_an_example(shell, command):
    result = shell(command, "--help")
    assert result.code == 0
    assert "xample" in result.out
