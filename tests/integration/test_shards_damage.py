"""Files that are cut, changed or gone: named by verify, never returned as data, healed by the next run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.shards import StoredRun, resume, verify
from tests.helpers.records import assert_stored
from tests.helpers.runs import make_run, some_records, write


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("sound"))
    write(run, records())
    return run


def records() -> list:  # type: ignore[type-arg]
    return some_records(count=2, points=60, regions=5, captions=True, parents=True, cloud=True)


def files(run: Path) -> list[Path]:
    return sorted(path.relative_to(run) for path in (run / "shards").rglob("*") if path.is_file())


def reader_never_lies(run: Path) -> bool:
    """Every frame is either an error or exactly what was written; True if all could be read."""
    try:
        for record in records():
            assert_stored(StoredRun(run).frame(record.frame_id).record(), record)
    except UserError:
        return False
    return True


def unused(name: Path) -> bool:
    """Our reader takes the consolidated metadata, and of these three what the manifest says."""
    inside = Path(*name.parts[2:])
    repeated = {Path(f"frame/{array}/c/0") for array in ("timestamp_us", "num_points", "status")}
    return (inside.name == "zarr.json" and len(inside.parts) > 1) or inside in repeated | {
        Path("frame/id/c/0/0")
    }


def heals(run: Path) -> None:
    """The next run of the same job does the frames again, and all is well."""
    progress = resume(run)
    todo = [record for record in records() if (record.frame_id, record.source_id) not in progress.done]
    assert todo
    assert progress.damaged
    write(run, todo)
    assert reader_never_lies(run)
    assert all(problem.harmless for problem in verify(run, deep=True))


def test_every_file_cut_short_or_gone(sound: Path) -> None:
    names = files(sound)
    assert len(names) > 70
    for name in names:
        good = (sound / name).read_bytes()
        for length in (None, 0, len(good) // 2, len(good) - 1):
            (sound / name).unlink(missing_ok=True)
            if length is not None:
                (sound / name).write_bytes(good[:length])
            for deep in (False, True):
                assert [(p.kind, p.where) for p in verify(sound, deep=deep)] == [
                    ("torn-shard", name.as_posix())
                ]
            assert reader_never_lies(sound) == unused(name)
        (sound / name).write_bytes(good)
    assert verify(sound, deep=True) == []


@pytest.mark.parametrize("file", ["zarr.json", "points/label/c/0/0", "regions/rle_offsets/zarr.json"])
def test_the_next_run_heals(sound: Path, tmp_path: Path, file: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(sound, run)
    (damaged,) = (run / "shards").glob(f"*/{file}")
    damaged.unlink()
    heals(run)


def test_every_file_with_changed_bytes(sound: Path) -> None:
    rng = np.random.default_rng(0)
    for name in files(sound):
        good = (sound / name).read_bytes()
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] ^= int(rng.integers(1, 256))
        (sound / name).write_bytes(bytes(bad))
        problems = verify(sound, deep=True)
        assert problems
        assert all(name.as_posix().startswith(problem.where) for problem in problems), (name, problems)
        reader_never_lies(sound)
        (sound / name).write_bytes(good)
    assert verify(sound, deep=True) == []
