"""labelgen revote: from the shards alone, equal to voting again with the raw data."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from labelgen.config import RunConfig
from labelgen.engine.voting import vote_settings
from labelgen.labels.revote import Ballot, cameras_present
from labelgen.labels.settings import VoteSettings
from labelgen.runs import open_run
from labelgen.shards import verify
from tests.helpers.cli import Shell
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot

FIELDS = ("label", "confidence", "margin", "region", "camera", "views", "reason")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two scenes of three frames; in one frame an image is missing, in one it is corrupt."""
    folder = tmp_path_factory.mktemp("revote")
    root = make_dataroot(folder, scenes=2, samples=3, points=900)
    front = sorted((root / "samples/CAM_FRONT").glob("*.jpg"))
    front[1].unlink()
    run = label("nuscenes", root, folder / "run")
    gone = root.rename(root.with_name("elsewhere"))
    assert not root.exists()
    return run, gone


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def same(one, other, fields=FIELDS):
    for name in fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_unchanged_settings_give_the_same_labels(made, shell, tmp_path):
    run, _ = made
    found = shell("revote", run, "--output", tmp_path / "same", "--json")
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["scenes"], found.json["failed"]) == (6, 2, 0)
    parent, derived = open_run(run), open_run(tmp_path / "same")
    assert derived.frames == parent.frames
    statuses = set()
    for frame_id in parent.frames:
        same(derived.frame(frame_id).labels, parent.frame(frame_id).labels)
        statuses.add(parent.frame(frame_id).status.name)
    assert statuses == {"OK", "PARTIAL"}
    assert not [problem for problem in verify(tmp_path / "same", deep=True) if not problem.harmless]


@pytest.mark.parametrize("tolerance", [0.02, 0.1, 30.0])
def test_another_tolerance_is_as_labelling_with_it(made, shell, tmp_path, tolerance):
    run, root = made
    config = RunConfig.model_validate(
        {"projection": {"max_residual": tolerance, "max_residual_relative": 0.0, "occlusion": True}}
    )
    again = label("nuscenes", root, tmp_path / "again", config)
    options = ("--max-residual", tolerance, "--max-residual-relative", 0, "--output", tmp_path / "revoted")
    assert shell("revote", run, *options).code == 0
    raw, derived, parent = open_run(again), open_run(tmp_path / "revoted"), open_run(run)
    changed = 0
    for frame_id in raw.frames:
        one, other = raw.frame(frame_id), derived.frame(frame_id)
        # Stored residuals are float16: views within their rounding of the limit may fall to either side.
        near = np.abs(other.views.depth_residual - tolerance) < 2e-3 * (1 + tolerance)
        differs = one.views.visible != other.views.visible
        assert not (differs & ~near).any()
        clear = ~np.isin(np.arange(len(one.labels)), one.views.point[differs])
        for name in FIELDS:
            np.testing.assert_array_equal(
                getattr(one.labels, name)[clear], getattr(other.labels, name)[clear], err_msg=name
            )
        changed += int((other.views.visible != parent.frame(frame_id).views.visible).sum())
    assert changed > 0


def test_weights_change_confidence_and_every_unlabelled_point_has_a_reason(made, shell, tmp_path):
    run, _ = made
    options = ("--edge", 0.9, "--class-margin", 0.8, "--residual", 0.5, "--angle", 0.5, "--min-margin", 0.1)
    assert shell("revote", run, *options, "--output", tmp_path / "weighed").code == 0
    parent, derived = open_run(run), open_run(tmp_path / "weighed")
    assert derived.info.parent is not None
    moved = 0
    for frame_id in parent.frames:
        before, after = parent.frame(frame_id).labels, derived.frame(frame_id).labels
        moved += int((before.confidence != after.confidence).sum())
        np.testing.assert_array_equal(after.label == 255, after.reason != 0)
        np.testing.assert_array_equal(before.views, after.views)
        assert (after.margin[after.label != 255] >= 25).all()
    assert moved > 100


def test_a_second_call_has_nothing_to_do_and_another_setting_is_refused(made, shell, tmp_path):
    run, _ = made
    out = tmp_path / "out"
    part = shell("revote", run, "--min-margin", 0.2, "--output", out, "--scenes", "0:1", "--json").json
    assert (part["frames"], part["scenes"]) == (3, 1)
    rest = shell("revote", run, "--min-margin", 0.2, "--output", out, "--json").json
    assert (rest["frames"], rest["scenes"], rest["skipped"]) == (3, 1, 1)
    other = shell("revote", run, "--min-margin", 0.3, "--output", out)
    assert other.code == 2
    assert "other settings" in other.err
    assert "min_margin" in other.err


def test_a_killed_call_goes_on(made, shell, tmp_path):
    run, _ = made
    assert shell("revote", run, "--output", tmp_path / "out").code == 0
    whole = {p.name: p.read_bytes() for p in (tmp_path / "out/manifests").glob("*.json")}
    for name in list(whole)[:1]:  # as if killed before the last manifest
        (tmp_path / "out/manifests" / name).unlink()
    found = shell("revote", run, "--output", tmp_path / "out", "--json").json
    assert (found["frames"], found["skipped"]) == (3, 1)
    assert len(open_run(tmp_path / "out")) == 6


def test_what_cannot_be(made, shell, tmp_path):
    run, root = made
    assert "the run itself" in shell("revote", run, "--output", run).err
    assert "not a run" in shell("revote", tmp_path, "--output", tmp_path / "x").err
    assert "expected BEGIN:END" in shell("revote", run, "--scenes", "3", "--output", tmp_path / "x").err
    shell("revote", run, "--output", tmp_path / "one")
    again = shell("revote", tmp_path / "one", "--output", tmp_path / "two")
    assert again.code == 2
    assert "is derived from" in again.err
    blind = RunConfig.model_validate({"projection": {"occlusion": False}})
    label("nuscenes", root, tmp_path / "blind", blind)
    refused = shell("revote", tmp_path / "blind", "--max-residual", 1)
    assert "without the depth test" in refused.err
    copy = shutil.copytree(run, tmp_path / "broken")
    next(iter((copy / "shards").glob("*.zarr/hits/region/c/0"))).write_bytes(b"")
    assert shell("revote", copy, "--output", tmp_path / "y").code == 2


def test_the_stored_hits_are_what_the_masks_say(made):
    opened = open_run(made[0])
    stored, projection = vote_settings(opened)
    for frame_id in opened.frames:
        record, cameras = opened.frame(frame_id).record(), opened.planned(frame_id).cameras
        assert record.hits.reach == 8
        older = replace(record, hits=None)
        for settings in (stored, stored.model_copy(update={"edge_px": 3.0}), VoteSettings()):
            one, other = (Ballot(r, cameras, settings, projection, True) for r in (record, older))
            for name in ("offsets", "region"):
                assert getattr(one.hits, name).tobytes() == getattr(other.hits, name).tobytes()
            if settings.edge:
                assert one.hits.inside.tobytes() == other.hits.inside.tobytes()
            same(one.labels(), other.labels())
            assert one.sums().tobytes() == other.sums().tobytes()


def test_masks_are_read_where_they_are_needed_only(made, shell, tmp_path):
    copy = shutil.copytree(made[0], tmp_path / "copy")
    for path in (copy / "shards").glob("*.zarr/regions/rle_bytes/c/0"):
        path.write_bytes(b"")
    assert shell("revote", copy, "--min-margin", 0.2, "--output", tmp_path / "near").code == 0
    found = shell("revote", copy, "--edge-px", 3, "--output", tmp_path / "far")
    assert found.code == 2
    assert "regions/rle_bytes" in found.err


def test_missing_cameras_are_worked_out(made):
    run, _ = made
    parent = open_run(run)
    partial = [f for f in parent.frames if parent.frame(f).status.name == "PARTIAL"]
    assert len(partial) == 1
    record = parent.frame(partial[0]).record()
    assert cameras_present(record, 6).tolist() == [False, True, True, True, True, True]
    whole = next(f for f in parent.frames if f not in partial)
    assert cameras_present(parent.frame(whole).record(), 6).all()
