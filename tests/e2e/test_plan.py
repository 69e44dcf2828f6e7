"""``labelgen plan --probe``, and the doctor on one machine."""

import json

import pytest


def test_a_probe_measures_the_stages_and_writes_nothing_to_the_run(shell, job, tmp_path):
    made = shell("plan", *job, "--probe", 2, "--gpus", "1,4", "--price", 3, "--json")
    assert made.code == 0, made.err
    plan = made.json
    assert not (tmp_path / "run").exists()
    seconds = plan["probe"]["seconds"]
    assert list(seconds) == ["load", "project", "check", "regions", "semantics", "vote", "write"]
    assert all(value > 0 for value in seconds.values())
    one, four = plan["estimates"]
    assert (one["gpus"], four["gpus"]) == (1, 4)
    assert one["wall_s"] > plan["probe"]["start_s"] + 5 * sum(seconds.values())
    assert one["cost"] == pytest.approx(one["gpu_hours"] * 3)

    # What was foretold of bytes and objects is what a run writes.
    assert shell("run", *job, "--runner", "sequential", "--no-report").code == 0
    shards = tmp_path / "run" / "shards"
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and "calls" not in path.parts]
    assert plan["estimated_objects"] == len(files)
    held = sum(path.stat().st_size for path in shards.rglob("*") if path.is_file())
    assert plan["estimated_bytes"] == pytest.approx(held, rel=0.35), "a probe of one shard, small frames"
    assert json.loads((tmp_path / "run.plan.json").read_text())["price"] == 3

    # The run's record and its report show the plan beside what came.
    bill = {line["what"]: line for line in shell("inspect", tmp_path / "run", "--json").json["bill"]}
    assert bill["frames"]["planned"] == bill["frames"]["actual"] == 6
    assert bill["objects"]["planned"] == bill["objects"]["actual"] == len(files)
    assert bill["wall time, all calls"]["planned"] == pytest.approx(one["wall_s"], rel=1e-6)
    assert bill["cost"]["actual"] == pytest.approx(bill["core-hours"]["actual"] * 3)
    assert bill["vote, a frame"]["planned"] == pytest.approx(seconds["vote"])
    assert shell("report", tmp_path / "run").code == 0
    assert "Plan and cost" in (tmp_path / "run" / "report" / "index.html").read_text()


def test_numbers_of_gpus_that_are_none(shell, job):
    result = shell("plan", *job, "--gpus", "many")
    assert result.code == 2
    assert "1,8,64" in result.err


def test_a_probe_of_frames_that_cannot_be_labelled_says_why(shell, job, dataroot):
    for path in (dataroot / "samples" / "LIDAR_TOP").iterdir():
        path.write_bytes(b"")
    result = shell("plan", *job, "--probe", 1)
    assert result.code == 2
    assert "empty" in result.err


def test_the_doctor_finds_this_machine_fit_and_says_what_is_not(shell, job, dataroot, tmp_path):
    sound = shell("doctor", *job, "--json")
    assert sound.code == 0, sound.out
    assert {"data", "versions", "output", "data root", "weights", "disk"} <= {
        finding["check"] for finding in sound.json["findings"]
    }
    assert not (tmp_path / "run").exists()
    missing = ("--set", "semantics.model=ViT-B-32", "--set", "semantics.checkpoint=/no/such.pt")
    sick = shell("doctor", *job, *missing, "--json")
    assert sick.code == 1
    assert not sick.json["fit"]
    assert any("/no/such.pt" in finding["detail"] for finding in sick.json["findings"] if not finding["ok"])


def test_the_doctor_names_a_cluster_that_is_not_there(shell, job):
    result = shell("doctor", *job, "--ray-address", "127.0.0.1:1")
    assert result.code == 1
    assert "127.0.0.1:1" in result.out
