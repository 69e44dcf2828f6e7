"""Source files that changed after they were labelled are named; touched ones are not."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from labelgen.core.errors import UserError
from labelgen.datasets.manifest import write_frames
from labelgen.shards import verify
from tests.helpers.runs import run_of_files


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """A data root with two frames, and a run of them."""
    return run_of_files(tmp_path)


def test_unchanged_and_only_touched_files_are_no_problem(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    root, run = labelled
    assert verify(run) == []
    os.utime(root / "0.bin", (1, 1))
    assert verify(run) == []
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(root)
    assert verify(run) == []  # nothing to compare with
    assert verify(run, dataroot=tmp_path / "copy") == []
    with pytest.raises(UserError, match="not a folder"):
        verify(run, dataroot=root)


def test_changed_and_missing_files_are_named(labelled: tuple[Path, Path]) -> None:
    root, run = labelled
    (root / "1.jpg").write_bytes(b"another")
    (root / "0.bin").unlink()
    problems = verify(run)
    assert [(p.kind, p.where) for p in problems] == [("source-changed", "0.bin"), ("source-changed", "1.jpg")]
    assert "frame-1" in problems[1].detail
    assert not any(problem.harmless for problem in problems)


def test_a_plan_with_other_sources_is_named(labelled: tuple[Path, Path]) -> None:
    from labelgen.datasets.manifest import read_frames

    _, run = labelled
    frames, info = read_frames(run / "frames.parquet")
    write_frames(run / "frames.parquet", [frames[0], replace(frames[1], source_id="new")], info)
    (problem,) = verify(run)
    assert problem.kind == "source-changed"
    assert "frame-1" in problem.detail
    (run / "frames.parquet").write_bytes(b"PAR1")
    assert [problem.kind for problem in verify(run)] == ["damaged-plan"]
