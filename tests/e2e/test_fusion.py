"""The main job as it is by default: weighed votes, instances, and fusion over time beside the labels."""

from __future__ import annotations

import json

import numpy as np

from labelgen.datasets import DatasetInfo, plan_frames, write_frames
from labelgen.runs import open_run

QUICK = ["--runner", "sequential", "--no-report"]


def test_both_passes_in_one_call(job, shell):
    done = shell("run", *job, *QUICK, "--json")
    assert done.code == 0, done.err
    assert (done.json["labelled"], done.json["failed"], done.json["fused_failed"]) == (6, 0, 0)
    first, second = open_run(done.json["run"]), open_run(done.json["fused"])
    assert second.parent is not None
    assert second.frames == first.frames
    more = things = 0
    for frame_id in first.frames:
        before, after = first.frame(frame_id).labels, second.frame(frame_id).labels
        more += int((after.label != 255).sum()) - int((before.label != 255).sum())
        things += int(before.instance.max())
        np.testing.assert_array_equal(after.label == 255, after.reason != 0)
        for labels in (before, after):
            assert (labels.label[labels.instance > 0] < 10).all()
    assert more > 0
    assert things > 0
    again = shell("run", *job, *QUICK, "--json")
    assert (again.json["labelled"], again.json["fused"], again.code) == (0, done.json["fused"], 0)
    scored = shell("evaluate", done.json["fused"], "--json")
    assert scored.json["coverage"] > shell("evaluate", done.json["run"], "--json").json["coverage"]


def test_scores_of_both_stand_in_the_report(job, shell):
    options = ["--runner", "sequential", "--split", "scene-0061"]
    done = shell("run", *job, *options, "--json")
    assert done.code == 0, done.err
    assert "step by step" in done.err
    assert done.json["report"] == f"{done.json['fused']}/report/index.html"
    with open(done.json["report"]) as page:
        assert "Step by step" in page.read()


def test_slices_leave_the_fusion_to_whoever_ends_a_scene(job, shell):
    assert "fused" not in shell("run", *job, *QUICK, "--frames", "0:2", "--json").json
    assert "not fused" in shell("run", *job, *QUICK, "--frames", "4:", "--json").err
    fused = shell("run", *job, *QUICK, "--frames", "2:3", "--json").json["fused"]
    assert len(open_run(fused)) == 3
    shell("run", *job, *QUICK, "--frames", "3:4")
    assert len(open_run(fused)) == 6


def test_a_killed_fusion_goes_on(job, shell):
    done = shell("run", *job, *QUICK, "--json").json
    run = open_run(done["fused"])
    manifests = sorted((run.path / "manifests").glob("*.json"))
    assert len(manifests) == 2
    kept = manifests[0].read_bytes()
    manifests[1].unlink()  # as if killed between the two scenes
    (run.path / "index.parquet").unlink()
    again = shell("run", *job, *QUICK, "--json").json
    assert (again["labelled"], len(open_run(again["fused"]))) == (0, 6)
    assert manifests[0].read_bytes() == kept
    assert len(json.loads(manifests[1].read_text())["frames"]) == 3


def test_a_scene_that_gains_a_frame_is_fused_anew(job, dataroot, shell, tmp_path):
    frames, info = plan_frames("nuscenes", dataroot)
    plan = tmp_path / "plan" / "frames.parquet"
    plan.parent.mkdir()
    job = ["--dataset", "manifest", "--dataroot", str(plan), *job[4:]]
    data = DatasetInfo("mine", dataroot=str(dataroot), categories=info.categories)
    write_frames(plan, frames[:2], data)
    first = shell("run", *job, *QUICK, "--json")
    assert first.code == 0, first.err
    assert len(open_run(first.json["fused"])) == 2
    before = {
        path: path.read_bytes() for path in (open_run(first.json["fused"]).path / "manifests").iterdir()
    }
    write_frames(plan, frames[:3], data)
    grown = shell("run", *job, *QUICK, "--json")
    assert (grown.code, grown.json["labelled"], len(open_run(grown.json["fused"]))) == (0, 1, 3)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_switched_off(job, shell, tmp_path):
    done = shell("run", *job, *QUICK, "--frames", "0:3", "--set", "fusion.enabled=false", "--json")
    assert "fused" not in done.json
    assert not (tmp_path / "run-fused").exists()
