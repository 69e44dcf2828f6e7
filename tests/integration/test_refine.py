"""labelgen refine and what follows it: derived runs that need points, from the run or from the raw files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgen.config import RunConfig
from labelgen.datasets import plan_frames, read_frames, write_frames
from labelgen.runs import open_run
from labelgen.shards import create_run, verify, write_shard
from tests.helpers.cli import Shell
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data root, and a run of two scenes of three frames that stores its points."""
    folder = tmp_path_factory.mktemp("refine")
    root = make_dataroot(folder, scenes=2, samples=3, points=1200)
    return root, label("nuscenes", root, folder / "run")


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def test_afi_from_stored_points_and_from_raw_files(made, shell, tmp_path):
    root, run = made
    options = ("--afi", "--as-published", "--fill")
    found = shell("refine", run, *options, "--output", tmp_path / "afi", "--json")
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["failed"]) == (6, 0)
    parent, derived = open_run(run), open_run(tmp_path / "afi")
    changed = 0
    for frame_id in parent.frames:
        before, after = parent.frame(frame_id).labels, derived.frame(frame_id).labels
        np.testing.assert_array_equal(after.label == 255, after.reason != 0)
        changed += int((before.label != after.label).sum())
        assert derived.frame(frame_id).xyz is not None  # the parent's
    assert changed > 0

    lean = label("nuscenes", root, tmp_path / "lean", RunConfig())
    assert shell("refine", lean, *options, "--output", tmp_path / "raw").code == 0
    other = open_run(tmp_path / "raw")
    for frame_id in parent.frames:
        same = other.frame(frame_id).labels.label, derived.frame(frame_id).labels.label
        np.testing.assert_array_equal(*same)


def test_a_frame_without_its_cloud_fails_alone(made, shell, tmp_path):
    root, _ = made
    lean = label("nuscenes", root, tmp_path / "lean", RunConfig())
    cloud = sorted((root / "samples/LIDAR_TOP").glob("*.bin"))[0]
    content = cloud.read_bytes()
    try:
        cloud.write_bytes(content[: 20 * 100])
        found = shell("refine", lean, "--afi", "--output", tmp_path / "out", "--json").json
    finally:
        cloud.write_bytes(content)
    assert (found["frames"], found["failed"]) == (5, 1)
    derived = open_run(tmp_path / "out")
    (problem,) = derived.failures.values()
    assert "100 points, but 1200 were labelled" in problem.message
    assert problem.stage == "afi"
    assert str(cloud.name) in problem.message


def test_refine_needs_a_way(made, shell):
    assert "--afi, --retrieval" in shell("refine", made[1]).err


def test_calibration_makes_confidence_the_accuracy(made, shell, tmp_path):
    _, run = made
    table = tmp_path / "calibration.json"
    before = shell("evaluate", run, "--calibrate", table, "--json")
    assert before.code == 0, before.err
    options = ("--calibration", table, "--output", tmp_path / "calibrated")
    assert shell("refine", run, *options).code == 0
    after = shell("evaluate", tmp_path / "calibrated", "--json").json
    assert after["miou"] == before.json["miou"]
    assert after["confidence"]["ece"] < min(0.02, before.json["confidence"]["ece"])
    assert "counts" not in after["confidence"]


def test_fusion_fills_what_no_camera_sees_and_follows_things(made, shell, tmp_path):
    _, run = made
    found = shell("fuse", run, "--output", tmp_path / "fused", "--json")
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["scenes"], found.json["failed"]) == (6, 2, 0)
    parent, derived = open_run(run), open_run(tmp_path / "fused")
    more, things = 0, 0
    for frame_id in parent.frames:
        before, after = parent.frame(frame_id).labels, derived.frame(frame_id).labels
        more += int((after.label != 255).sum()) - int((before.label != 255).sum())
        np.testing.assert_array_equal(after.label == 255, after.reason != 0)
        np.testing.assert_array_equal(before.views, after.views)
        assert (after.label[after.instance > 0] < 10).all()  # things only
        things += int(after.instance.max())
    assert more > 0
    assert things > 0
    again = shell("fuse", run, "--output", tmp_path / "fused", "--json").json
    assert (again["frames"], again["skipped"]) == (0, 2)


def test_instances_only_leave_labels_alone(made, shell, tmp_path):
    _, run = made
    assert shell("fuse", run, "--instances-only", "--output", tmp_path / "tracked").code == 0
    parent, derived = open_run(run), open_run(tmp_path / "tracked")
    for frame_id in parent.frames:
        before, after = parent.frame(frame_id).labels, derived.frame(frame_id).labels
        for name in ("label", "confidence", "margin", "region", "camera", "views", "reason"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert any(derived.frame(f).labels.instance.any() for f in derived.frames)


def test_a_refined_run_can_be_fused(made, shell, tmp_path):
    _, run = made
    assert shell("refine", run, "--afi", "--fill", "--output", tmp_path / "afi").code == 0
    found = shell("fuse", tmp_path / "afi", "--output", tmp_path / "both", "--json").json
    assert (found["frames"], found["failed"]) == (6, 0)
    chain = open_run(tmp_path / "both")
    assert chain.parent.path.name == "afi"
    frame_id = chain.frames[0]
    before, after = (open_run(tmp_path / name).frame(frame_id).labels for name in ("afi", "both"))
    agree = before.label == after.label
    assert agree.mean() > 0.4  # labels at random, frame by frame


def without_poses(root, folder, *scenes):
    """A run of the same data whose plan has no poses for some scenes."""
    frames, info = plan_frames("nuscenes", root)
    blind = [replace(f, global_from_lidar=np.eye(4)) if f.scene_id in scenes else f for f in frames]
    write_frames(folder / "frames.parquet", blind, replace(info, dataroot=str(root)))
    return label("manifest", folder / "frames.parquet", folder / "blind")


def test_a_scene_without_poses_keeps_its_labels(made, shell, tmp_path):
    root, _ = made
    run = without_poses(root, tmp_path, "scene-0061")
    found = shell("fuse", run, "--output", tmp_path / "fused", "--json").json
    assert (found["frames"], found["failed"], found["scenes"]) == (6, 0, 2)
    parent, derived = open_run(run), open_run(tmp_path / "fused")
    for frame_id in parent.frames:
        before, after = parent.frame(frame_id).labels, derived.frame(frame_id).labels
        blind = parent.entry(frame_id).scene_id == "scene-0061"
        assert np.array_equal(before.label, after.label) == blind
        assert np.array_equal(before.confidence, after.confidence) == blind


def test_a_run_without_any_poses_is_not_fused(made, shell, tmp_path):
    root, run = made
    scenes = {open_run(run).entry(f).scene_id for f in open_run(run).frames}
    blind = without_poses(root, tmp_path, *scenes)
    found = shell("fuse", blind, "--output", tmp_path / "fused")
    assert found.code == 2
    assert "no scene has poses" in found.err
    assert not (tmp_path / "fused").exists()
    assert shell("fuse", blind, "--instances-only", "--output", tmp_path / "numbered").code == 0


def copy_of(run, folder, without=()):
    """The run with some of its frames left out."""
    source = open_run(run)
    info = source.info
    create_run(folder, fingerprint=info.fingerprint, config=info.config, taxonomy=info.taxonomy, models=[])
    frames, data = read_frames(run / "frames.parquet")
    write_frames(folder / "frames.parquet", frames, data)
    add(run, folder, [frame_id for frame_id in source.frames if frame_id not in without])
    return folder


def add(run, folder, frame_ids, **changes):
    source = open_run(run)
    records = [replace(source.frame(frame_id).record(), **changes) for frame_id in frame_ids]
    write_shard(folder, records, [], fingerprint=source.info.fingerprint)


def test_a_scene_that_gains_a_frame_is_fused_anew_and_nothing_is_removed(made, shell, tmp_path):
    _, run = made
    late = open_run(run).frames[2]
    scene = open_run(run).entry(late).scene_id
    copy, out = copy_of(run, tmp_path / "run", without={late}), tmp_path / "fused"
    assert shell("fuse", copy, "--output", out, "--json").json["scenes"] == 2
    reader = open_run(out)
    early = next(f for f in reader.frames if reader.entry(f).scene_id == scene)
    before = reader.frame(early).labels
    published = {p: p.read_bytes() for p in (out / "manifests").iterdir()}

    add(run, copy, [late])
    found = shell("fuse", copy, "--output", out, "--json").json
    assert (found["frames"], found["scenes"], found["skipped"]) == (3, 1, 1)
    for path, content in published.items():
        assert path.read_bytes() == content
    np.testing.assert_array_equal(reader.frame(early).labels.label, before.label)  # of the old shard
    grown = open_run(out)
    assert grown.frames == open_run(copy).frames
    again = shell("fuse", copy, "--output", out, "--json").json
    assert (again["frames"], again["skipped"]) == (0, 2)
    assert not [problem for problem in verify(out, deep=True) if not problem.harmless]

    at_once = tmp_path / "at-once"
    assert shell("fuse", run, "--output", at_once).code == 0
    for frame_id in grown.frames:
        one, other = grown.frame(frame_id).labels, open_run(at_once).frame(frame_id).labels
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_array_equal(one.instance, other.instance)


def test_a_scene_is_fused_anew_when_a_frame_was_labelled_anew(made, shell, tmp_path):
    _, run = made
    first = open_run(run).frames[0]
    copy, out = copy_of(run, tmp_path / "run", without={first}), tmp_path / "fused"
    add(run, copy, [first], source_id="before")
    shell("fuse", copy, "--output", out)
    add(run, copy, [first])  # of the planned files
    found = shell("fuse", copy, "--output", out, "--json").json
    assert (found["scenes"], found["skipped"]) == (1, 1)
    assert {open_run(out).entry(f).scene_id for f in open_run(out).frames} == {"scene-0061", "scene-0103"}


@pytest.mark.slow
def test_scenes_side_by_side_on_ray_give_the_same(made, shell, tmp_path):
    _, run = made
    here = shell("refine", run, "--afi", "--output", tmp_path / "here", "--json").json
    there = shell("refine", run, "--afi", "--ray", "local", "--output", tmp_path / "there", "--json").json
    assert {k: v for k, v in here.items() if k != "run"} == {k: v for k, v in there.items() if k != "run"}
    one, two = open_run(tmp_path / "here"), open_run(tmp_path / "there")
    assert one.frames == two.frames
    for frame_id in one.frames:
        same = one.frame(frame_id).labels, two.frame(frame_id).labels
        np.testing.assert_array_equal(same[0].label, same[1].label)
        np.testing.assert_array_equal(same[0].confidence, same[1].confidence)
