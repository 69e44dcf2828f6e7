"""Pass 2 is driven by the rules of pass 1: held, stopped, taken up again; no scene kills it twice.

The slow trials draw their times from ``LABELGEN_CHAOS_SEED``, as those of `tests.e2e.test_chaos` do.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from labelgen.core.errors import UserError
from labelgen.engine import scenes
from labelgen.engine.drain import STOPPED
from labelgen.engine.lease import lease, living_drivers
from labelgen.runs import open_run
from labelgen.shards import verify, writer
from labelgen.shards.calls import read_calls
from tests.helpers.light_jobs import label, light_plan
from tests.helpers.light_passes import Halve, halve
from tests.helpers.nuscenes_root import make_dataroot

SEED = int(os.environ.get("LABELGEN_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
SCENES, SAMPLES = 3, 4
LIMIT_S = 300


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("passes")
    dataroot = make_dataroot(folder, scenes=SCENES, samples=SAMPLES)
    label(light_plan(dataroot, folder / "run", ("runtime.runner=sequential",)))
    return folder / "run"


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "derived"


def check(parent: Path, output: Path, failed: frozenset[str] = frozenset()) -> None:
    """Every frame once, or failed; its labels are what the operation gives."""
    before, after = open_run(parent), open_run(output)
    named = Counter(frame.frame_id for manifest in after.manifests for frame in manifest.frames)
    assert named == Counter(set(before.frames) - failed)
    assert after.failures.keys() == failed
    for frame_id in named:
        was, now = before.frame(frame_id).labels, after.frame(frame_id).labels
        assert now.label.tobytes() == was.label.tobytes()
        assert now.confidence.tobytes() == (was.confidence // 2).tobytes()
    problems = verify(output, deep=True)
    assert all(problem.harmless for problem in problems), problems
    assert not living_drivers(output)


def start(parent: Path, output: Path, **more) -> subprocess.Popen:
    request = {"parent": str(parent), "output": str(output)} | more
    command = [sys.executable, "-m", "tests.helpers.light_passes", json.dumps(request)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def manifests(run: Path) -> int:
    return len(list(run.glob("manifests/*.json")))


def test_sigterm_ends_between_two_frames_and_the_next_call_goes_on(parent, output, monkeypatch):
    done = []

    def record_and_be_told(*arguments):
        done.append(record(*arguments))
        if len(done) == SAMPLES + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return done[-1]

    record = scenes._record
    monkeypatch.setattr(scenes, "_record", record_and_be_told)
    before = signal.getsignal(signal.SIGTERM)
    outcome = halve(parent, output)
    assert (outcome.labelled, outcome.left, outcome.signal) == (6, 6, signal.SIGTERM)
    assert len(open_run(output).frames) == SAMPLES + 2
    assert signal.getsignal(signal.SIGTERM) == before
    again = halve(parent, output)
    assert (again.labelled, again.left, again.skipped, again.signal) == (6, 0, 1, 0)
    check(parent, output)
    assert [call.labelled for call in read_calls(output)] == [6, 6]


def test_a_second_driver_is_refused_unless_both_share(parent, output):
    halve(parent, output, Halve(faults={open_run(parent).frames[0]: "error"}))
    shutil.rmtree(output / "manifests")
    (output / "manifests").mkdir()
    frames = light_frames(parent)
    with (
        lease(output, frames),
        pytest.raises(UserError, match=r"another driver.*--scenes"),
    ):
        halve(parent, output)
    with lease(output, frames, share=True):
        halve(parent, output, share=True)
    check(parent, output)


def light_frames(parent: Path):
    from labelgen.shards import read_plan

    return read_plan(parent)[0]


def test_a_whole_run_is_not_written(parent, output):
    halve(parent, output)
    shutil.rmtree(output / "drivers", ignore_errors=True)
    calls = len(read_calls(output))
    outcome = halve(parent, output)
    assert (outcome.labelled, outcome.skipped) == (0, SCENES)
    assert not (output / "drivers").exists()
    assert len(read_calls(output)) == calls


@pytest.mark.parametrize(("fault", "words"), [("segfault", "SIGSEGV"), ("exit", "exit code 3")])
def test_a_scene_that_kills_its_driver_fails_the_next_time_and_no_other_does(parent, output, fault, words):
    poison = open_run(parent).frames[SAMPLES + 1]
    first = start(parent, output, faults={poison: fault})
    first.communicate(timeout=LIMIT_S)
    assert first.returncode not in (0, 2, STOPPED)
    assert len(open_run(output).frames) == SAMPLES, "the scene before it"
    outcome = halve(parent, output, Halve(faults={poison: fault}))
    assert (outcome.labelled, outcome.failed) == (SAMPLES, SAMPLES)
    scene = frozenset(open_run(parent).frames[SAMPLES : 2 * SAMPLES])
    check(parent, output, failed=scene)
    assert all(words in one.message for one in open_run(output).failures.values())
    halve(parent, output, retry_failed=True)
    check_again = open_run(output)
    assert not check_again.failures
    assert len(check_again.frames) == SCENES * SAMPLES


def test_an_operation_that_fails_fails_what_it_has_not_given(parent, output):
    frames = open_run(parent).frames
    outcome = halve(parent, output, Halve(faults={frames[2]: "error"}))
    assert (outcome.failed, outcome.labelled) == (2, SCENES * SAMPLES - 2)
    check(parent, output, failed=frozenset(frames[2:SAMPLES]))


def test_a_store_that_fails_for_a_moment_is_asked_again(parent, output, monkeypatch):
    write, failed = writer.write_group, []

    def write_group(*arguments):
        if not failed:
            failed.append(True)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        write(*arguments)

    monkeypatch.setattr(writer, "write_group", write_group)
    assert halve(parent, output).failed == 0
    assert failed
    check(parent, output)


def test_a_folder_that_is_removed_meanwhile_is_said_to_be_gone(parent, output):
    def remove(count):
        if count:
            shutil.rmtree(output)

    with pytest.raises(UserError, match="is gone: it was removed or moved"):
        halve(parent, output, on_frame=remove)


# --- trials ------------------------------------------------------------------------------------------------


def trials(count: int, first: int):
    seeds = [SEED * 1000 + first + number for number in range(count)]
    return pytest.mark.parametrize("seed", seeds)


@pytest.fixture(scope="module")
def address():
    from tests.helpers.clusters import small_cluster

    with small_cluster() as cluster:
        yield cluster.address


@pytest.mark.slow
@trials(6, 900)
def test_kill_the_driver_of_pass_2(parent, output, seed):
    rng = random.Random(seed)
    process = start(parent, output, seconds=0.2)
    shards = rng.randrange(SCENES)
    wait_until(lambda: living_drivers(output) and manifests(output) >= shards, process)
    time.sleep(rng.uniform(0, 0.8))
    process.kill()
    process.communicate()
    halve(parent, output)
    check(parent, output)


@pytest.mark.slow
@trials(4, 920)
def test_kill_the_driver_of_pass_2_on_ray(parent, output, address, seed):
    rng = random.Random(seed)
    process = start(parent, output, address=address, seconds=0.5)
    shards = rng.randrange(SCENES)
    wait_until(lambda: living_drivers(output) and manifests(output) >= shards, process)
    time.sleep(rng.uniform(0, 1.5))
    process.kill()
    process.communicate()
    halve(parent, output, address=address)
    check(parent, output)


@pytest.mark.slow
@trials(4, 940)
@pytest.mark.parametrize("on_ray", [False, True])
def test_sigterm_in_pass_2(parent, output, address, on_ray, seed):
    rng = random.Random(seed)
    where = {"address": address} if on_ray else {}
    process = start(parent, output, seconds=0.5, **where)
    wait_until(lambda: living_drivers(output), process)
    time.sleep(rng.uniform(0, 2))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=LIMIT_S)
    outcome = json.loads(out.splitlines()[-1])
    assert process.returncode == (STOPPED if outcome["left"] else 0), (out, err)
    assert outcome["labelled"] == len(open_run(output).frames)
    halve(parent, output)
    check(parent, output)


@pytest.mark.slow
@trials(3, 960)
def test_two_drivers_of_pass_2(parent, output, seed):
    rng = random.Random(seed)
    first = start(parent, output, seconds=0.3, options={"share": True})
    wait_until(lambda: living_drivers(output), first)
    time.sleep(rng.uniform(0, 1))
    refused = start(parent, output)
    out, _ = refused.communicate(timeout=LIMIT_S)
    if first.poll() is None:
        assert refused.returncode == 2, out
        assert "another driver is at work" in out
    second = start(parent, output, seconds=0.3, options={"share": True})
    for process in (first, second):
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, (out, err)
    check(parent, output)


@pytest.mark.slow
def test_a_scene_that_kills_its_workers_on_ray_fails_alone(parent, output, address):
    poison = open_run(parent).frames[0]
    outcome = halve(parent, output, Halve(faults={poison: "segfault"}), address=address)
    assert (outcome.labelled, outcome.failed) == ((SCENES - 1) * SAMPLES, SAMPLES)
    check(parent, output, failed=frozenset(open_run(parent).frames[:SAMPLES]))


@pytest.mark.slow
@trials(3, 980)
def test_disk_full_in_pass_2(parent, output, monkeypatch, seed):
    rng, write, room = random.Random(seed), writer.write_group, [random.Random(seed).randrange(SCENES)]

    def write_group(*arguments):
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        write(*arguments)

    monkeypatch.setattr(writer, "write_group", write_group)
    with pytest.raises(UserError, match="No space left"):
        halve(parent, output)
    monkeypatch.setattr(writer, "write_group", write)
    assert not living_drivers(output)
    halve(parent, output, Halve(seconds=rng.uniform(0, 0.01)))
    check(parent, output)
