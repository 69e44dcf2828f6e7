"""A wrong data root stops every command at once; what failed for its files is mended by the next call."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from labelgen.config import RunConfig
from labelgen.engine import operations as passes
from labelgen.labels.calibrate import Calibration
from labelgen.runs import open_run
from tests.helpers.cli import Shell
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot

POINTS = 1200
#: Commands that take a data root, and what they write to {out}.
COMMANDS = {
    "refine": "refine {run} --afi --output {out}",
    "calibrate": "refine {run} --calibration {table} --output {out}",
    "fuse": "fuse {run} --output {out}",
    "predict": "train predict {run} nowhere --output {out}",
    "train": "train annotation-free {run} --split all --size demo --output {out}",
    "export": "export {run} --format slidr --out {out}/deep/down",
    "export-points": "export {run} --format openscene --out {out}",
    "evaluate": "evaluate {run} --calibrate {out}",
    "ladder": "evaluate {run} --ladder",
    "report": "report {run} --out {out}",
    "draw": "inspect {run} --frame 0 --out {out}",
    "worst": "inspect {run} --worst 1",
    "view": "view {run} --save {out}",
    "verify": "verify {run}",
}
#: Those that cannot do without, if it is not given; the others go on, or say what they leave out.
NEED_IT = ("refine", "fuse", "predict", "train", "export", "export-points", "evaluate", "ladder")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data root, and a run of two scenes of three frames that stores no points."""
    folder = tmp_path_factory.mktemp("root")
    root = make_dataroot(folder, scenes=2, samples=3, points=POINTS)
    run = label("nuscenes", root, folder / "run", RunConfig())
    table = folder / "calibration.json"
    Calibration(np.linspace(0, 1, 256)).save(table)
    return root, run, table


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def clouds(root: Path) -> list[Path]:
    return sorted((root / "samples/LIDAR_TOP").glob("*.bin"))


def a_file(root: Path, wrong: Path) -> str:
    wrong.write_text("")
    return "is not a folder"


def nothing(root: Path, wrong: Path) -> str:
    return "is not a folder that exists"


def empty(root: Path, wrong: Path) -> str:
    wrong.mkdir()
    return "holds none of the run's files"


def other_points(root: Path, wrong: Path) -> str:
    shutil.copytree(root, wrong)
    for path in clouds(wrong):
        path.write_bytes(path.read_bytes()[: 20 * (POINTS - 1)])
    return f"has {POINTS - 1} points, but {POINTS} were labelled"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("make", [nothing, a_file, empty, other_points])
def test_a_wrong_root_stops_at_once_and_nothing_is_written(made, shell, tmp_path, make, command):
    root, run, table = made
    wrong, out = tmp_path / "rot", tmp_path / "out"
    words = make(root, wrong)
    before = sorted(tmp_path.iterdir())
    arguments = COMMANDS[command].format(run=run, out=out, table=table).split()
    found = shell(*arguments, "--dataroot", wrong)
    if command == "verify" and make is other_points:  # which is what it looks for
        assert found.code == 1
        return
    assert found.code == 2, found.err
    (line,) = found.err.strip().splitlines()
    assert f"the data root {wrong} " in line
    assert words in line
    assert "--dataroot" in line
    assert sorted(tmp_path.iterdir()) == before
    assert not (run / "report").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_recorded_root_that_is_gone(made, shell, tmp_path, command):
    root, run, table = made
    out, moved = tmp_path / "out", root.with_name("moved")
    arguments = COMMANDS[command].format(run=run, out=out, table=table).split()
    root.rename(moved)
    try:
        found = shell(*arguments)
        assert found.code == (2 if command in NEED_IT else 0), found.err
        if command in NEED_IT:
            (line,) = found.err.strip().splitlines()
            assert f"the data root {root} is not a folder that exists; " in line
            assert "--dataroot" in line
            assert not out.exists()
        if command == "fuse":
            assert shell(*arguments, "--dataroot", moved).code == 0
    finally:
        moved.rename(root)


def test_a_cloud_that_is_missing_fails_its_frame_until_it_is_there(made, shell, tmp_path):
    root, run, _ = made
    cloud, out = clouds(root)[1], tmp_path / "afi"
    away = cloud.rename(tmp_path / "away")
    refine = ("refine", run, "--afi", "--output", out, "--json")
    for _ in range(2):
        found = shell(*refine)
        assert found.code == 1
        assert "16.7% of the frames failed, 0.0% are allowed (--max-failed-fraction)" in found.err
        (problem,) = open_run(out).failures.values()
        assert cloud.name in problem.message
    assert found.json["frames"] == 0, "those that are done stay"
    assert shell(*refine, "--max-failed-fraction", 0.2).code == 0
    away.rename(cloud)
    found = shell(*refine)
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["failed"], found.json["failed_before"]) == (1, 0, 0)
    mended = open_run(out)
    assert mended.failures == {}
    assert mended.frames == open_run(run).frames
    assert shell("refine", run, "--afi", "--output", tmp_path / "anew").code == 0
    anew = open_run(tmp_path / "anew")
    for frame_id in anew.frames:
        np.testing.assert_array_equal(mended.frame(frame_id).labels.label, anew.frame(frame_id).labels.label)


def test_a_scene_that_could_not_be_fused_is_fused_by_the_same_command(made, shell, tmp_path):
    root, run, _ = made
    cloud, out = clouds(root)[1], tmp_path / "fused"
    away = cloud.rename(tmp_path / "away")
    fuse = ("fuse", run, "--output", out, "--json")
    found = shell(*fuse)
    assert found.code == 1
    assert (found.json["frames"], found.json["failed"]) == (3, 3)
    away.rename(cloud)
    found = shell(*fuse)
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["failed"], found.json["skipped"]) == (3, 0, 1)


def test_other_failures_are_tried_again_on_request(made, shell, tmp_path, monkeypatch):
    _, run, _ = made
    broken, refine = open_run(run).frame(open_run(run).frames[2]).labels.label.copy(), passes.refine_labels

    def fails(xyz, labels, *more):
        if np.array_equal(labels.label, broken):
            raise ValueError("cannot be refined")
        return refine(xyz, labels, *more)

    command = ("refine", run, "--afi", "--output", tmp_path / "afi", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(passes, "refine_labels", fails)
        assert shell(*command).code == 1
        found = shell(*command, "--retry-failed")
        assert found.code == 1
        assert (found.json["frames"], found.json["failed"]) == (0, 1)
    found = shell(*command)
    assert found.code == 1, "it counts as long as it is not mended"
    assert (found.json["frames"], found.json["failed"], found.json["failed_before"]) == (0, 0, 1)
    found = shell(*command, "--retry-failed")
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["failed"]) == (1, 0)
