"""Files with other times are not labelled anew; what changed is, and is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.frame import Frame
from labelgen.datasets.manifest import read_frames
from labelgen.datasets.sources import with_source_ids
from labelgen.engine import unchanged
from labelgen.engine.unchanged import Settled, describe, keep, settle
from labelgen.io.place import open_store
from labelgen.shards import done_frames
from tests.helpers.runs import run_of_files

BOTH = {"frame-0", "frame-1"}


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    return run_of_files(tmp_path)


def touch(root: Path) -> None:
    """Give all files other times, as ``cp -r`` does."""
    for number, path in enumerate(sorted(root.iterdir())):
        os.utime(path, (number, number))


def look(
    root: Path, run: Path, chosen: set[str] = BOTH, edit: Callable[[Frame], Frame] = lambda frame: frame
) -> Settled:
    """Plan anew, with a frame-1 that is edited."""
    frames = [replace(frame, source_id="") for frame in read_frames(run / "frames.parquet")[0]]
    frames[1] = edit(frames[1])
    frames, _ = with_source_ids(root, frames)
    return settle(open_store(run), root, frames, chosen, done_frames(run))


def keys(settled: Settled) -> set[tuple[str, str]]:
    return {(frame.frame_id, frame.source_id) for frame in settled.frames}


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the source files that are read."""
    found: list[str] = []
    read = unchanged.read_file

    def noted(root: Path, path: str, *more: object) -> bytes:
        found.append(path)
        return read(root, path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(unchanged, "read_file", noted)
    return found


def test_other_times_are_no_change(labelled: tuple[Path, Path], files_read: list[str]) -> None:
    root, run = labelled
    before = done_frames(run).done
    assert keys(look(root, run)) == before
    assert not files_read, "where times are the same, nothing is read"
    touch(root)
    settled = look(root, run)
    assert keys(settled) == before
    assert settled.changed == ()
    assert sorted(files_read) == ["0.bin", "0.jpg", "1.bin", "1.jpg"]

    keep(open_store(run), settled.same)
    files_read.clear()
    assert keys(look(root, run)) == before
    assert not files_read, "what was found to be equal is not read again"
    (run / "sources.json").write_text('{"same": {"x": 1}}')
    assert keys(look(root, run)) == before, "a damaged note costs time and nothing else"
    assert files_read


def test_frames_that_are_not_asked_for_are_left_as_they_are(
    labelled: tuple[Path, Path], files_read: list[str]
) -> None:
    root, run = labelled
    touch(root)
    (root / "0.jpg").write_bytes(b"another")
    settled = look(root, run, {"frame-1"})
    assert keys(settled) == done_frames(run).done
    assert settled.unseen == {"frame-0"}
    assert set(files_read) == {"1.bin", "1.jpg"}


def image(root: Path) -> None:
    (root / "1.jpg").write_bytes(b"1 jpf")  # of the same size


def cloud(root: Path) -> None:
    (root / "1.bin").write_bytes(b"1 bin and more")


def gone(root: Path) -> None:
    (root / "1.jpg").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (image, "image (1, such as frame frame-1: 1.jpg)"),
        (cloud, "LiDAR file (1, such as frame frame-1: 1.bin)"),
        (gone, "image (1, such as frame frame-1: 1.jpg)"),
    ],
)
def test_changed_files_are_named(
    labelled: tuple[Path, Path], change: Callable[[Path], None], words: str
) -> None:
    root, run = labelled
    touch(root)
    change(root)
    settled = look(root, run)
    assert [frame_id for frame_id, _ in keys(settled) - done_frames(run).done] == ["frame-1"]
    assert describe(settled.changed) == f"1 frame is labelled anew, as its sources changed since: {words}"


def pose(frame: Frame) -> Frame:
    moved = np.eye(4)
    moved[0, 3] = 1e-3
    return replace(frame, global_from_lidar=moved)


def calibration(frame: Frame) -> Frame:
    return replace(frame, cameras=(replace(frame.cameras[0], intrinsics=2 * np.eye(3)),))


def lens(frame: Frame) -> Frame:
    return replace(frame, cameras=(replace(frame.cameras[0], distortion=np.full(4, 0.1)),))


def layout(frame: Frame) -> Frame:
    return replace(frame, lidar_layout="nuscenes")


@pytest.mark.parametrize(
    ("edit", "what"),
    [(pose, "pose"), (calibration, "calibration"), (lens, "calibration"), (layout, "layout of the LiDAR")],
)
def test_what_else_changed_is_named_and_no_file_is_read(
    labelled: tuple[Path, Path], files_read: list[str], edit: Callable[[Frame], Frame], what: str
) -> None:
    root, run = labelled
    settled = look(root, run, edit=edit)
    (change,) = settled.changed
    assert change.frame_id == "frame-1"
    assert what in change.what
    assert (settled.frames[1].frame_id, settled.frames[1].source_id) not in done_frames(run).done
    assert not files_read


def test_an_identity_that_somebody_gives_is_theirs_to_change(labelled: tuple[Path, Path]) -> None:
    root, run = labelled
    settled = look(root, run, edit=lambda frame: replace(frame, source_id="mine"))
    assert settled.frames[1].source_id == "mine"
    assert "source_id" in settled.changed[0].what


def test_without_the_plan_of_then_frames_are_done_anew(labelled: tuple[Path, Path]) -> None:
    root, run = labelled
    frames, _ = read_frames(run / "frames.parquet")
    (run / "frames.parquet").unlink()
    touch(root)
    now, _ = with_source_ids(root, [replace(frame, source_id="") for frame in frames])
    settled = settle(open_store(run), root, now, BOTH, done_frames(run))
    assert list(settled.frames) == now
