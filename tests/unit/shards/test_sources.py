"""Source files that changed after they were labelled are named; touched ones are not."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import write_frames
from labelgen.datasets.sources import with_source_ids
from labelgen.errors import UserError
from labelgen.frame import Camera, Frame
from labelgen.shards import verify
from tests.helpers.runs import make_run, some_records, write


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """A data root with two frames, and a run of them."""
    root = tmp_path / "data"
    root.mkdir()
    frames = []
    for number in range(2):
        for name in ("bin", "jpg"):
            (root / f"{number}.{name}").write_bytes(f"{number} {name}".encode())
        camera = Camera("front", f"{number}.jpg", 8, 8, np.eye(3), np.eye(4), number)
        frames.append(
            Frame(
                f"frame-{number}", "scene-0", number, number, f"{number}.bin", "kitti", np.eye(4), (camera,)
            )
        )
    frames, _ = with_source_ids(root, frames)
    run = make_run(tmp_path / "run")
    write_frames(run / "frames.parquet", frames, DatasetInfo(dataroot=str(root)))
    hashes = {
        path.name: hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in root.iterdir()
    }
    records = [
        replace(
            record,
            source_id=frame.source_id,
            source_hashes={name: hashes[name] for name in (frame.lidar_path, frame.cameras[0].image_path)},
        )
        for record, frame in zip(some_records(count=2), frames, strict=True)
    ]
    write(run, records)
    return root, run


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
