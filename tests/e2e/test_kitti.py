"""One real KITTI frame from one's own frames.parquet to labels, and from SemanticKITTI's folders."""

from __future__ import annotations

import numpy as np
import pytest

from labelgen.datasets import load_cloud, plan_frames, write_frames
from labelgen.geometry import project
from labelgen.runs import open_run
from tests.e2e.conftest import FAST, QUICK


@pytest.fixture
def plan(kitti_frame, tmp_path):
    """A frames.parquet of the frame, beside no data."""
    frames, info = plan_frames("semantickitti", kitti_frame)
    write_frames(tmp_path / "frames.parquet", frames, info)
    return tmp_path / "frames.parquet"


def test_pixels_through_the_plan_are_those_of_the_reference(kitti_frame, plan):
    (frame,), info = plan_frames("manifest", plan)
    assert info.missing_files == 0
    cloud, _ = load_cloud(kitti_frame, frame)
    views = project(frame, cloud)
    with np.load(kitti_frame / "reference" / "image_2.npz", allow_pickle=False) as reference:
        uv = reference["uv"]
    assert len(views) > 17_000
    np.testing.assert_allclose(views.uv, uv[views.point], atol=1e-3)


def test_from_the_plan_to_labels_and_on(plan, tmp_path, shell):
    sets = [part for override in FAST for part in ("--set", override)]
    run = tmp_path / "run"
    done = shell("run", "--dataset", "manifest", "--dataroot", plan, "--output", run, *sets, *QUICK, "--json")
    assert done.code == 0, done.err
    assert (done.json["labelled"], done.json["failed"]) == (1, 0)
    opened = open_run(run)
    (frame_id,) = opened.frames
    assert frame_id == "08_000000"
    labels = opened.frame(frame_id).labels
    assert len(labels) == 17_238
    np.testing.assert_array_equal(labels.label == 255, labels.reason != 0)
    # The scan is cut to the image: every point projects into it, a few onto its outermost pixel.
    assert np.isin(labels.reason, (1, 7)).mean() < 0.02
    assert (labels.label[labels.label != 255] < 19).all()

    loose = shell("revote", run, "--max-residual", 50, "--output", tmp_path / "loose", "--json")
    assert loose.json["frames"] == 1
    assert not (open_run(tmp_path / "loose").frame(frame_id).labels.reason == 2).any()
    fused = shell("fuse", run, "--output", tmp_path / "fused", "--json")
    assert (fused.json["frames"], fused.json["failed"]) == (1, 0), fused.err
    scored = shell("evaluate", run)
    assert scored.code == 2
    assert "no truth" in scored.err
