"""Random cuts of every kind: each is named, none is ever read as data, and the next run heals it.

Kinds: kill -9 at a random time, any file cut short, a disk that is full (a small file system of its own where
one can be mounted, else from a random write on), an object store whose requests fail or lose their replies
until the writer gives up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.datasets import DatasetInfo
from labelgen.io import clients
from labelgen.shards import StoredRun, build_index, create_run, merge_plan, resume, verify, write_shard
from tests.helpers.records import assert_stored
from tests.helpers.runs import FINGERPRINT, some_records
from tests.helpers.s3 import S3Server
from tests.integration.test_shards_kill import CONTEXT, start

GROUPS, PER_GROUP = 2, 2
KINDS = ("kill", "cut", "full", "store")


def records() -> list[Any]:
    return some_records(0, GROUPS * PER_GROUP, points=30, regions=3)


def frames() -> list[Frame]:
    return [
        Frame(
            r.frame_id,
            r.scene_id,
            n,
            r.timestamp_us,
            f"{n}.bin",
            "kitti",
            np.eye(4),
            (),
            None,
            None,
            r.source_id,
        )
        for n, r in enumerate(records())
    ]


def job(run: Path | str, started: Any = None, full_at: int | None = None) -> None:
    """What a run does: make the folder, look at what is done, do the rest, index it."""
    if full_at is not None:
        sys.addaudithook(disk_full(str(run), full_at))
    if started is not None:
        started.set()
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy={}, models=[])
    done = resume(run).done
    merge_plan(run, frames(), DatasetInfo(dataroot="/no/such/folder"))
    everything = records()
    for begin in range(0, len(everything), PER_GROUP):
        group = [r for r in everything[begin : begin + PER_GROUP] if (r.frame_id, r.source_id) not in done]
        write_shard(run, group, [], fingerprint=FINGERPRINT)
    build_index(run)


def disk_full(run: str, at: int) -> Any:
    """An audit hook: from the ``at``-th write on, the disk is full."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (opens or event in ("os.mkdir", "os.link")) and str(arguments[0]).startswith(run):
            count += 1
            if count >= at:
                raise OSError(errno.ENOSPC, "No space left on device")

    return hook


def _full(run: Path, at: int | None, answers: Any) -> None:
    try:
        job(run, full_at=at)
        answers.put("done")
    except UserError as error:
        answers.put(str(error))
    except Exception as error:  # a traceback that no user should see
        answers.put(f"not caught: {error!r}")


def never_lies(run: Path | str) -> None:
    """Every frame is refused or exactly what was written."""
    try:
        opened = StoredRun(run)
    except UserError:
        return
    for record in records():
        if record.frame_id in opened:
            try:
                stored = opened.frame(record.frame_id).record()
            except UserError:
                continue
            assert_stored(stored, record)


def named(run: Path | str) -> list[str]:
    """Where ``verify`` sees damage."""
    try:
        return [problem.where for problem in verify(run, deep=True) if not problem.harmless]
    except UserError as error:
        return [str(error)]


def check_healed(run: Path | str) -> None:
    job(run)
    opened = StoredRun(run)
    assert sorted(opened.frames) == sorted(record.frame_id for record in records())
    for record in records():
        assert_stored(opened.frame(record.frame_id).record(), record)
    problems = verify(run, deep=True, clean=True, min_age=-1)
    assert all(problem.harmless for problem in problems), problems
    assert verify(run) == []


#: How often the disk was full, by the way that it was made so.
FULL: Counter[str] = Counter()


def kill(run: Path, rng: np.random.Generator) -> None:
    started = CONTEXT.Event()
    process = start(job, run, started)
    assert started.wait(600)
    process.join(float(rng.exponential(0.05)))
    process.kill()
    process.join()
    never_lies(run)
    if (run / "run.json").exists():
        assert named(run) in ([], ["index.parquet"])  # whole shards, or none


def cut(run: Path, rng: np.random.Generator) -> None:
    job(run)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    file = files[int(rng.integers(len(files)))]
    content = file.read_bytes()
    file.write_bytes(content[: int(rng.integers(len(content)))])
    never_lies(run)
    where = file.relative_to(run).as_posix()
    found = named(run)
    assert found
    assert any(where in text or where.startswith(text) for text in found), (where, found)


def full(run: Path, rng: np.random.Generator) -> None:
    size = int(rng.integers(20, 700))  # kilobytes; a whole run takes 660
    small = bool(rng.integers(2)) and mount(run, f"size={size}k")
    answers = CONTEXT.Queue()
    process = start(_full, run, None if small else int(rng.integers(1, 240)), answers)
    answer = answers.get(timeout=600)
    process.join()
    assert answer == "done" or ("No space left on device" in answer and "not caught" not in answer), answer
    FULL["mounted" if small else "refused"] += answer != "done"
    never_lies(run)
    if small:
        assert mount(run, "remount,size=64m")


def mount(run: Path, options: str) -> bool:
    run.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(run)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def store(server: S3Server, rng: np.random.Generator) -> str:
    url = f"{server.bucket()}/run"
    kinds = ("500", "503", "lost", "lost 500")
    share, lock = float(rng.uniform(0.05, 0.6)), threading.Lock()

    def fault(method: str, path: str) -> str | None:
        with lock:
            return kinds[int(rng.integers(4))] if rng.random() < share else None

    server.fault = fault
    with contextlib.suppress(UserError):
        job(url)
    server.fault = None
    never_lies(url)
    return url


@pytest.fixture
def server(object_store: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(
        clients,
        "RETRY",
        {"max_retries": 1, "first_wait_s": 0.01, "longest_wait_s": 0.02},
    )
    yield object_store
    for run in tmp_path.glob("full-*"):  # of a trial that failed
        if run.is_mount():
            subprocess.run(["umount", str(run)], check=True)


def trials(kind: str, count: int, server: S3Server, folder: Path) -> None:
    rng = np.random.default_rng()
    for number in range(count):
        run: Path | str = folder / f"{kind}-{number}"
        if kind == "store":
            run = store(server, rng)
        else:
            {"kill": kill, "cut": cut, "full": full}[kind](Path(run), rng)
        check_healed(run)
        if os.path.ismount(run):
            subprocess.run(["umount", str(run)], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_some_cuts(kind: str, server: S3Server, tmp_path: Path) -> None:
    trials(kind, 2 if kind == "store" else 5, server, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_cuts(kind: str, server: S3Server, tmp_path: Path) -> None:
    trials(kind, 20 if kind == "store" else 60, server, tmp_path)
    if kind == "full":
        assert FULL["refused"] > 5, FULL
