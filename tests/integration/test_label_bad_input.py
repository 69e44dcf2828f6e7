"""Odd inputs of the labels' part, each through the commands: a defined result, or one line that helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.core.records import Reason
from labelgen.datasets import plan_frames, write_frames
from labelgen.runs import open_run
from tests.helpers.cli import Shell
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


@pytest.fixture
def root(tmp_path):
    return make_dataroot(tmp_path, scenes=1, samples=2, points=300)


def labelled(root, folder, change, config=None):
    """A run of the data root's frames, changed by a function."""
    frames, info = plan_frames("nuscenes", root)
    path = folder / "frames.parquet"
    write_frames(path, [change(frame) for frame in frames], replace(info, dataroot=str(root)))
    return label("manifest", path, folder / "labelled", config)


def everything_after(run, shell, folder):
    """Labels of the run, and of all that can be made of it."""
    for number, options in enumerate(
        (
            ("fuse",),
            ("refine", "--afi", "--fill"),
            ("revote", "--max-residual", 1),
            ("fuse", "--instances-only"),
        )
    ):
        out = folder / f"derived-{number}"
        done = shell(options[0], run, *options[1:], "--output", out, "--json")
        assert done.code == 0, done.err
        assert (done.json["frames"], done.json["failed"]) == (2, 0)
        for frame_id in open_run(out).frames:
            yield open_run(out).frame(frame_id).labels
    scored = shell("evaluate", run, "--json")
    assert scored.code == 0, scored.err
    for frame_id in open_run(run).frames:
        yield open_run(run).frame(frame_id).labels


@pytest.mark.parametrize("cameras", [0, 1])
def test_no_visible_point(root, shell, tmp_path, cameras):
    up = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -1e4], [0, 0, 0, 1]])  # all points are behind it

    def blind(frame):
        return replace(
            frame, cameras=tuple(replace(c, camera_from_lidar=up) for c in frame.cameras[:cameras])
        )

    for labels in everything_after(labelled(root, tmp_path, blind), shell, tmp_path):
        assert (labels.label == 255).all()
        assert set(np.unique(labels.reason)) <= {Reason.NO_CAMERA, Reason.EGO, Reason.NO_RETURN}


def test_one_camera(root, shell, tmp_path):
    run = labelled(root, tmp_path, lambda frame: replace(frame, cameras=frame.cameras[:1]))
    for labels in everything_after(run, shell, tmp_path):
        assert set(np.unique(labels.camera)) <= {0, 255}
        assert labels.views.max() == 1
        np.testing.assert_array_equal(labels.label == 255, labels.reason != 0)


def test_all_points_in_one_place(root, shell, tmp_path):
    for path in (root / "samples/LIDAR_TOP").glob("*.bin"):
        cloud = np.fromfile(path, "<f4").reshape(-1, 5)
        cloud[:, :3] = [3.0, 12.0, -0.5]
        cloud.tofile(path)
    for labels in everything_after(labelled(root, tmp_path, lambda frame: frame), shell, tmp_path):
        assert len(np.unique(labels.label)) == 1


def test_a_pose_that_is_not_rigid(root, tmp_path):
    stretched = np.diag([1.2, 1.0, 1.0, 1.0])
    with pytest.raises(UserError, match="row 0, column global_from_lidar: not a rigid transform"):
        labelled(root, tmp_path, lambda frame: replace(frame, global_from_lidar=stretched))


def test_scenes_of_one_frame_keep_their_votes_and_learn_from_neighbours(root, shell, tmp_path):
    run = labelled(root, tmp_path, lambda frame: replace(frame, scene_id=f"scene-{frame.index}", index=0))
    done = shell("fuse", run, "--output", tmp_path / "fused", "--json").json
    assert (done["frames"], done["scenes"], done["failed"]) == (2, 2, 0)
    for frame_id in open_run(run).frames:
        before, after = (open_run(r).frame(frame_id).labels for r in (run, tmp_path / "fused"))
        sure = before.label != 255
        assert (after.label[sure] == before.label[sure]).mean() > 0.5  # of points at random places
        np.testing.assert_array_equal(before.views, after.views)


def test_labels_of_another_taxonomy(root, shell, tmp_path):
    config = RunConfig.model_validate({"dataset": "manifest", "taxonomy": "semantickitti19"})
    run = labelled(root, tmp_path, lambda frame: frame, config)
    scored = shell("evaluate", run)
    assert scored.code == 2
    assert "semantickitti19" in scored.err
    assert len(scored.err.strip().splitlines()) == 1


def test_truth_of_another_length(root, shell, tmp_path):
    run = labelled(root, tmp_path, lambda frame: frame)
    truth = root / plan_frames("nuscenes", root)[0][0].label_path
    truth.write_bytes(truth.read_bytes()[:-3])
    scored = shell("evaluate", run)
    assert scored.code == 2
    assert truth.name in scored.err
    assert "297" in scored.err
    assert len(scored.err.strip().splitlines()) == 1


def test_the_ladder_needs_a_city(root, shell, tmp_path):
    run = labelled(root, tmp_path, lambda frame: frame)
    climbed = shell("evaluate", run, "--ladder")
    assert climbed.code == 2
    assert "only a simulated city does" in climbed.err
