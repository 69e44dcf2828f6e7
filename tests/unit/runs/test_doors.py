"""Every command comes through the one door: the same fault gets the same line."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelgen.datasets import read_frames, write_frames
from tests.helpers.cli import Shell

#: Commands that need a plan and raw files, and what they write to {out}.
COMMANDS = {
    "export": "export {run} --format slidr --out {out}",
    "evaluate": "evaluate {run}",
    "refine": "refine {run} --afi --output {out}",
    "fuse": "fuse {run} --output {out}",
    "train": "train annotation-free {run} --split all --size demo --output {out}",
    "predict": "train predict {run} nowhere --output {out}",
    "ladder": "evaluate {run} --ladder",
}
#: Those that go on without raw files, and say what they leave out.
LOOKING = {
    "draw": "inspect {run} --frame 0 --out {out}",
    "worst": "inspect {run} --worst 1",
    "view": "view {run} --save {out}",
    "report": "report {run} --out {out}",
}


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def line_of(shell: Shell, command: str, run: Path, out: Path, *more: object) -> str:
    found = shell(*command.format(run=run, out=out).split(), *more)
    assert found.code == 2, found.err
    (line,) = found.err.strip().splitlines()
    assert not out.exists()
    return line


def test_a_wrong_root_that_is_given(made, shell, tmp_path):
    wrong = tmp_path / "wrong"
    text = f"error: the data root {wrong} is not a folder that exists; give the right one with --dataroot"
    for command in (COMMANDS | LOOKING).values():
        assert line_of(shell, command, made[1], tmp_path / "out", "--dataroot", wrong) == text


def test_a_root_that_is_gone(made, shell, tmp_path):
    root, run = made
    away = root.rename(root.with_name("away"))
    text = f"the data root {root} is not a folder that exists; give the right one with --dataroot"
    try:
        for command in COMMANDS.values():
            assert line_of(shell, command, run, tmp_path / "out") == f"error: {text}"
        found = shell("inspect", run, "--frame", 0, "--out", tmp_path / "a.png", "--width", 480, "--json")
        assert found.code == 0, found.err
        assert found.json["missing"] == [text]
    finally:
        away.rename(root)


def test_a_run_without_a_plan(run, shell, tmp_path):
    (run / "frames.parquet").unlink()
    text = f"error: no file {run}/frames.parquet; running the same job again writes it"
    for command in (COMMANDS | LOOKING).values():
        assert line_of(shell, command, run, tmp_path / "out") == text


def test_a_plan_that_lacks_a_frame(run, shell, tmp_path):
    frames, info = read_frames(run / "frames.parquet")
    write_frames(run / "frames.parquet", frames[1:], info)
    text = (
        f"error: {run}/frames.parquet lacks frame {frames[0].frame_id}; running the same job again rewrites "
        "that file"
    )
    for name in ("export", "refine", "fuse", "ladder"):
        assert line_of(shell, COMMANDS[name], run, tmp_path / "out") == text
    drawn = ("inspect {run} --out {out} --frame", frames[0].frame_id)
    assert line_of(shell, drawn[0], run, tmp_path / "out", drawn[1]) == text
