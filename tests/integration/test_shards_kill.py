"""Writers that race, and writers that are killed: nothing half, nothing twice, nothing missing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelgen.core.records import FrameRecord
from labelgen.shards import StoredRun, build_index, read_index, resume, verify, write_shard, writer
from labelgen.shards.manifest import manifest_key
from tests.helpers.records import assert_stored
from tests.helpers.runs import FINGERPRINT, make_failure, make_run, some_records, write

CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])  # so that a process starts in milliseconds
GROUPS, PER_GROUP = 8, 2
SMALL: dict[str, Any] = {"points": 50, "regions": 4}


def records(seed: int = 0, count: int = GROUPS * PER_GROUP) -> list[FrameRecord]:
    return some_records(seed, count, **SMALL)


def start(target: Any, *arguments: Any) -> Any:
    process = CONTEXT.Process(target=_run, args=(target, *arguments))
    process.start()
    return process


def _run(target: Any, *arguments: Any) -> None:
    os.fsync = lambda descriptor: None  # a killed process loses nothing that it wrote; only the machine does
    target(*arguments)


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# --- races -------------------------------------------------------------------------------------------------


def _race(run: Path, seed: int, barrier: Any, answers: Any) -> None:
    group = records(seed, 3)
    barrier.wait()
    manifest = write(run, group)
    answers.put((seed, manifest.attempt))


def test_of_several_writers_of_one_shard_one_wins(tmp_path: Path) -> None:
    for number in range(3):
        run = make_run(tmp_path / str(number))
        barrier, answers = CONTEXT.Barrier(3), CONTEXT.Queue()
        processes = [start(_race, run, seed, barrier, answers) for seed in range(3)]
        attempts = {answers.get(timeout=60)[1] for _ in processes}
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert len(attempts) == 1  # all report the same success
        (manifest,) = StoredRun(run).manifests
        assert os.listdir(run / "shards") == [f"{manifest.shard_id}-{attempts.pop()}.zarr"]
        assert os.listdir(run / "manifests") == [f"{manifest.shard_id}.json"]
        assert verify(run, deep=True) == []
        # The three gave different values: all that is stored is of one of them.
        stored = [frame.record() for frame in StoredRun(run).stream()]
        whose = [
            seed
            for seed in range(3)
            if all(
                np.array_equal(mine.semantics.feature, found.semantics.feature)
                for mine, found in zip(records(seed, 3), stored, strict=True)
            )
        ]
        assert len(whose) == 1


# --- kill -9 at random times -------------------------------------------------------------------------------


def _job(run: Path, started: Any) -> None:
    """What a run does: look at what is done, do the rest."""
    everything = records()
    started.set()
    done = resume(run).done
    for begin in range(0, len(everything), PER_GROUP):
        group = [r for r in everything[begin : begin + PER_GROUP] if (r.frame_id, r.source_id) not in done]
        write_shard(run, group, [], fingerprint=FINGERPRINT)


def run_job(run: Path, kill_after: float | None = None) -> float:
    """Seconds that it took, or until it was killed."""
    started = CONTEXT.Event()
    process = start(_job, run, started)
    assert started.wait(60)
    begin = time.perf_counter()
    process.join(kill_after)
    process.kill()
    process.join()
    if kill_after is None:
        assert process.exitcode == 0
    return time.perf_counter() - begin


def check_complete(run: Path, expected: list[FrameRecord]) -> None:
    opened = StoredRun(run)
    named = Counter(frame.frame_id for manifest in opened.manifests for frame in manifest.frames)
    assert named == Counter(record.frame_id for record in expected)
    for record in expected:
        assert_stored(opened.frame(record.frame_id).record(), record)
    problems = verify(run, deep=True)
    assert all(problem.harmless for problem in problems), problems
    build_index(run)
    assert sorted(read_index(run)["frame_id"].to_pylist()) == sorted(named)
    verify(run, clean=True, min_age=-1)
    assert verify(run, deep=True) == []


def test_killed_at_random_times_and_called_again(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    everything = {record.frame_id: record for record in records()}
    whole = run_job(make_run(tmp_path / "undisturbed"))
    check_complete(tmp_path / "undisturbed", list(everything.values()))
    interrupted = 0
    for number in range(40):
        run = make_run(tmp_path / f"run-{number}")
        for _ in range(5):
            run_job(run, kill_after=float(rng.uniform(0, whole / 3)))
            opened = StoredRun(run)  # a reader in between sees whole frames only
            for frame_id in opened.frames:
                assert_stored(opened.frame(frame_id).record(), everything[frame_id])
            if len(opened) == len(everything):
                break
            interrupted += 1
        run_job(run)
        check_complete(run, list(everything.values()))
        shutil.rmtree(run)
        if interrupted >= 20:
            return
    pytest.fail(f"only {interrupted} of the jobs were killed before their end")


# --- kill -9 before each change that a writer makes to the disk --------------------------------------------

_CHANGES = {"os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir"}


def _write_and_die(run: Path, scenario: str, die_at: int, answers: Any) -> None:
    changed: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if (event in _CHANGES or writes) and arguments and str(arguments[0]).startswith(str(run)):
            if len(changed) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            changed.append(str(arguments[0]))

    if scenario == "loser":  # the other one publishes just after we looked
        real, calls = writer.published, iter([True])
        writer.published = lambda *a, **k: None if next(calls, False) else real(*a, **k)
    group = records(count=3)
    sys.addaudithook(hook)
    write(run, group[:2], [make_failure("frame-2")])
    answers.put(changed)


def prepare(run: Path, scenario: str) -> Path:
    make_run(run)
    if scenario != "alone":
        manifest = write(run, records(count=2), [make_failure("frame-2")])
        if scenario == "damaged":
            path = run / manifest_key(manifest.shard_id)
            path.write_bytes(path.read_bytes()[:-50])
    return run


@pytest.mark.parametrize("scenario", ["alone", "loser", "damaged"])
def test_killed_before_each_change_to_the_disk(tmp_path: Path, scenario: str) -> None:
    answers = CONTEXT.Queue()
    process = start(_write_and_die, prepare(tmp_path / "count", scenario), scenario, -1, answers)
    changed = answers.get(timeout=60)
    process.join()
    assert len(changed) > 100
    # Every change around the publishing, and a sample of the many files before and after it.
    publishing = [number for number, path in enumerate(changed) if "/manifests/" in path]
    points = {*publishing, max(publishing) + 1, *range(0, len(changed), 60), len(changed) - 1} - {
        len(changed)
    }
    for point in sorted(points):
        run = prepare(tmp_path / "run", scenario)
        process = start(_write_and_die, run, scenario, point, answers)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        if scenario == "damaged":
            resume(run)
        opened = StoredRun(run)
        for frame_id in opened.frames:
            assert_stored(opened.frame(frame_id).record(), records()[int(frame_id[-1])])
        resume(run)
        write(run, records(count=2), [make_failure("frame-2")])
        assert set(StoredRun(run).failures) == {"frame-2"}
        verify(run, clean=True, min_age=-1)
        assert verify(run, deep=True) == []
        assert sorted(StoredRun(run).frames) == ["frame-0", "frame-1"]
        assert len(os.listdir(run / "shards")) == len(os.listdir(run / "manifests")) == 1
        shutil.rmtree(run)
