"""The main job with instances, weighed votes and fusion switched on."""

from __future__ import annotations

import numpy as np

from labelgen.shards import open_run
from tests.e2e.conftest import QUICK

ON = ["labels.instances=true", "labels.edge=0.5", "labels.class_margin=0.5", "fusion.enabled=true"]


def test_both_passes_in_one_call(job, shell):
    sets = [part for override in ON for part in ("--set", override)]
    done = shell("run", *job, *sets, *QUICK, "--json")
    assert done.code == 0, done.err
    assert (done.json["labelled"], done.json["failed"]) == (6, 0)
    first, second = open_run(done.json["run"]), open_run(done.json["fused"])
    assert second.parent is not None
    assert second.frames == first.frames
    more = 0
    for frame_id in first.frames:
        before, after = first.frame(frame_id).labels, second.frame(frame_id).labels
        more += int((after.label != 255).sum()) - int((before.label != 255).sum())
        np.testing.assert_array_equal(after.label == 255, after.reason != 0)
        for labels in (before, after):
            assert (labels.label[labels.instance > 0] < 10).all()
    assert more > 0
    again = shell("run", *job, *sets, *QUICK, "--json")
    assert (again.json["labelled"], again.code) == (0, 0)
    scored = shell("evaluate", done.json["fused"], "--json")
    assert scored.json["coverage"] > shell("evaluate", done.json["run"], "--json").json["coverage"]
