"""Whatever is killed, and whenever: after the same command again every frame is there once, with its labels.

The trials draw their times from ``LABELGEN_CHAOS_SEED`` (drawn itself, and shown, if it is not set). Their
models cost nothing (`tests.helpers.light_jobs`), since what is on trial is the engine around them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import PointLabels
from labelgen.engine.drain import STOPPED
from labelgen.engine.lease import living_drivers
from labelgen.runs import open_run
from labelgen.shards import verify
from tests.helpers.clusters import small_cluster
from tests.helpers.light_jobs import label, light_plan
from tests.helpers.nuscenes_root import make_dataroot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEED = int(os.environ.get("LABELGEN_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
SCENES, SAMPLES = 2, 6
#: Seconds for a step that takes ten on an idle machine.
LIMIT_S = 300
#: Of computing per frame; the second is long enough for harm to come in time, the third for a signal that
#: waits for the first shard, whose writer is the last process to start.
SECONDS, LONG, LONGER = 0.1, 1.0, 3.0
ON_RAY = ("runtime.runner=ray", "runtime.model_workers=2")


def trials(count: int, first: int):
    """So many trials, each with a seed of its own."""
    return pytest.mark.parametrize("seed", [SEED * 1000 + first + number for number in range(count)])


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory) -> Path:
    print(f"LABELGEN_CHAOS_SEED={SEED}")
    return make_dataroot(tmp_path_factory.mktemp("chaos"), scenes=SCENES, samples=SAMPLES)


@pytest.fixture(scope="module")
def undisturbed(dataroot, tmp_path_factory) -> dict[str, PointLabels]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    label(light_plan(dataroot, run, ("runtime.runner=sequential",)))
    opened = open_run(run)
    assert len(opened.frames) == SCENES * SAMPLES
    return {frame_id: opened.frame(frame_id).labels for frame_id in opened.frames}


@pytest.fixture(scope="module")
def cluster():
    """See `small_cluster`."""
    with small_cluster() as made:
        yield made


def check(run: Path, undisturbed: dict[str, PointLabels], poison: dict[str, str] | None = None) -> None:
    """Every frame once, or failed with the words of its reason; labels as they would have been anyway."""
    poison = poison or {}
    opened = open_run(run)
    named = Counter(frame.frame_id for manifest in opened.manifests for frame in manifest.frames)
    assert named == Counter(undisturbed.keys() - poison.keys())
    assert opened.failures.keys() == poison.keys()
    for frame_id, words in poison.items():
        assert words in opened.failures[frame_id].message
    for frame_id in named:
        labels = opened.frame(frame_id).labels
        for name in PointLabels._SPEC:
            ours, other = getattr(labels, name), getattr(undisturbed[frame_id], name)
            assert ours.tobytes() == other.tobytes(), (frame_id, name)
    problems = verify(run, deep=True)
    assert all(problem.harmless for problem in problems), problems
    assert not living_drivers(run)


def start(dataroot: Path, run: Path, address: str | None, **more) -> subprocess.Popen:
    """A driver in a process of its own."""
    request = {"dataroot": str(dataroot), "run": str(run), "address": address, "overrides": ON_RAY}
    request |= {"faults": {"seconds": SECONDS}} | more
    command = [sys.executable, "-m", "tests.helpers.light_jobs", json.dumps(request)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, process: subprocess.Popen, limit_s: float = LIMIT_S) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def manifests(run: Path) -> int:
    return len(list(run.glob("manifests/*.json")))


@contextmanager
def harm(rng: random.Random, run: Path, do) -> None:
    """While the block runs, do harm at a random time after a random number of shards."""
    shards, pause = rng.randrange(SCENES * SAMPLES // 4), rng.uniform(0, 0.5)
    ended, done = threading.Event(), []

    def wait() -> None:
        while manifests(run) < shards and not ended.wait(0.005):
            pass
        if not ended.wait(pause):
            done.append(do())

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield done
    finally:
        ended.set()
        thread.join()
    assert done, "the run had ended before"


def workers(name: str, session: str) -> dict[int, str]:
    """{process id: title} of a Ray session's workers whose title holds a name."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
            # Not the agents: a raylet dies with those, and a driver with its raylet.
            worker = title.startswith("ray::") and not title.endswith("Agent")
            if worker and name in title and session in _open_files(folder):
                found[int(folder.name)] = title
        except OSError:
            continue  # it has ended
    return found


def _open_files(folder: Path) -> str:
    """Names of a process's open files: a worker's logs are in its session's folder."""
    return " ".join(os.readlink(file) for file in (folder / "fd").iterdir())


def kill_one(rng: random.Random, name: str) -> str:
    """SIGKILL to one worker of the session that this process is connected to, as soon as there is one."""
    import ray

    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        node = ray._private.worker._global_node  # None until the driver has connected
        if node is not None and (found := workers(name, node.session_name)):
            victim = rng.choice(sorted(found))
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return found[victim]
        time.sleep(0.05)
    return ""


# --- the driver --------------------------------------------------------------------------------------------


@trials(8, 0)
def test_kill_the_driver(dataroot, undisturbed, cluster, tmp_path, seed):
    rng, run = random.Random(seed), tmp_path / "run"
    process = start(dataroot, run, cluster.address)
    shards = rng.randrange(SCENES * SAMPLES // 2)
    wait_until(lambda: living_drivers(run) and manifests(run) >= shards, process)
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    process.communicate()
    left = light_plan(dataroot, run, ON_RAY, seconds=SECONDS)
    label(left, cluster.address)
    check(run, undisturbed)


@trials(4, 100)
def test_kill_the_sequential_driver(dataroot, undisturbed, tmp_path, seed):
    """The frame that it was at is done in a process of its own by the next one."""
    rng, run = random.Random(seed), tmp_path / "run"
    process = start(dataroot, run, None, overrides=["runtime.runner=sequential"])
    wait_until(lambda: living_drivers(run), process)
    shards = rng.randrange(SCENES * SAMPLES // 2)
    wait_until(lambda: manifests(run) >= shards or process.poll() is not None, process)
    time.sleep(rng.uniform(0, 0.2))
    process.kill()
    process.communicate()
    label(light_plan(dataroot, run, ("runtime.runner=sequential",)))
    check(run, undisturbed)


@trials(2, 150)
@pytest.mark.parametrize("runner", ["ray", "local", "sequential"])
def test_sigterm_finishes_what_is_begun(dataroot, undisturbed, cluster, tmp_path, seed, runner):
    rng, run = random.Random(seed), tmp_path / "run"
    address = cluster.address if runner == "ray" else None
    engine = "sequential" if runner == "sequential" else "ray"  # local: a Ray that the driver starts itself
    overrides = (f"runtime.runner={engine}", "runtime.model_workers=2")
    process = start(dataroot, run, address, overrides=overrides, faults={"seconds": LONGER})
    wait_until(lambda: living_drivers(run) and manifests(run) >= 1, process)
    time.sleep(rng.uniform(0, 0.5))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == STOPPED, (out, err)
    outcome = json.loads(out.splitlines()[-1])
    assert outcome["stopped"]
    assert outcome["labelled"] == len(open_run(run).frames)
    if runner != "local":  # whose writers may start when all frames are begun
        assert outcome["labelled"] < SCENES * SAMPLES
    label(light_plan(dataroot, run, ("runtime.runner=sequential",)))
    check(run, undisturbed)


# --- workers and nodes -------------------------------------------------------------------------------------


@trials(7, 200)
def test_kill_model_actors(dataroot, undisturbed, cluster, tmp_path, seed):
    rng, run = random.Random(seed), tmp_path / "run"
    plan = light_plan(dataroot, run, ON_RAY, seconds=LONG)
    with harm(rng, run, lambda: kill_one(rng, "Operator")):
        label(plan, cluster.address)
    check(run, undisturbed)


@trials(7, 300)
def test_kill_any_worker(dataroot, undisturbed, cluster, tmp_path, seed):
    """Readers, voters, writers, the supervisor, and Ray Data's own."""
    rng, run = random.Random(seed), tmp_path / "run"
    plan = light_plan(dataroot, run, ON_RAY, seconds=LONG)
    with harm(rng, run, lambda: [kill_one(rng, "ray::") for _ in range(rng.randint(1, 2))]):
        label(plan, cluster.address)
    check(run, undisturbed)


@trials(7, 400)
def test_lose_a_node(dataroot, undisturbed, cluster, tmp_path, seed):
    rng, run = random.Random(seed), tmp_path / "run"
    plan = light_plan(dataroot, run, ON_RAY, seconds=LONG)
    victim = cluster.workers.pop(rng.randrange(len(cluster.workers)))
    try:
        with harm(rng, run, lambda: cluster.remove_node(victim, allow_graceful=False)) as done:
            label(plan, cluster.address)
    finally:
        if not done:
            cluster.remove_node(victim, allow_graceful=False)
        cluster.workers.append(cluster.add_node(**cluster.again))
        cluster.wait_for_nodes()
    check(run, undisturbed)


@trials(4, 500)
def test_kill_writers_after_they_wrote_and_before_they_say_so(dataroot, undisturbed, cluster, tmp_path, seed):
    rng, run, marks = random.Random(seed), tmp_path / "run", tmp_path / "marks"
    marks.mkdir()
    for number in range(rng.randint(1, 4)):
        (marks / str(number)).touch()
    plan = light_plan(dataroot, run, ON_RAY, seconds=SECONDS, kill_writers=str(marks))
    label(plan, cluster.address)
    assert not list(marks.iterdir()), "so many were killed"
    check(run, undisturbed)


# --- several drivers ---------------------------------------------------------------------------------------


@trials(3, 600)
def test_a_second_driver_is_refused(dataroot, undisturbed, cluster, tmp_path, seed):
    rng, run = random.Random(seed), tmp_path / "run"
    first = start(dataroot, run, cluster.address)
    wait_until(lambda: living_drivers(run), first)
    time.sleep(rng.uniform(0, 1))
    second = start(dataroot, run, cluster.address)
    out, _ = second.communicate(timeout=LIMIT_S)
    if first.poll() is None:
        assert second.returncode == 2, out
        assert "another driver is at work" in out
    out, err = first.communicate(timeout=LIMIT_S)
    assert first.returncode == 0, (out, err)
    check(run, undisturbed)


@trials(4, 700)
def test_drivers_that_share_do_no_frame_twice(dataroot, undisturbed, cluster, tmp_path, seed):
    """In every second trial, one of them is killed, and what it left is taken up."""
    rng, run = random.Random(seed), tmp_path / "run"
    share = {"options": {"share": True}, "faults": {"seconds": 0.3}}
    first = start(dataroot, run, cluster.address, **share)
    if rng.random() < 0.5:
        wait_until(lambda: living_drivers(run), first)
    second = start(dataroot, run, cluster.address, **share)
    if seed % 2:
        wait_until(lambda: manifests(run) >= rng.randint(1, 3), second)
        first.kill()
    outs = [process.communicate(timeout=LIMIT_S) for process in (first, second)]
    assert second.returncode == 0, outs
    if seed % 2:
        label(light_plan(dataroot, run, ON_RAY), cluster.address)
    else:
        assert first.returncode == 0, outs
        done = [json.loads(out.splitlines()[-1])["labelled"] for out, _ in outs]
        assert sum(done) == SCENES * SAMPLES, "one was done twice, or none did it"
    check(run, undisturbed)
    assert not (run / "claims").exists()


# --- disk and poison ---------------------------------------------------------------------------------------


@trials(3, 800)
def test_disk_full(dataroot, undisturbed, cluster, tmp_path, seed):
    rng, run, full = random.Random(seed), tmp_path / "run", tmp_path / "full"
    plan = light_plan(dataroot, run, ON_RAY, seconds=LONG, full_disk=str(full))
    with harm(rng, run, full.touch), pytest.raises(UserError, match="No space left"):
        label(plan, cluster.address)
    full.unlink()
    label(light_plan(dataroot, run, ON_RAY), cluster.address)
    check(run, undisturbed)


@trials(1, 900)
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("segfault", "SIGSEGV"),
        ("allocate", "0.3 GB"),
        ("exit", "exit code 3"),
        ("cuda", "illegal memory"),
        ("write", "while they wrote it"),
    ],
)
def test_poison_frames_are_found_and_named(dataroot, undisturbed, cluster, tmp_path, seed, fault, words):
    rng, run = random.Random(seed), tmp_path / "run"
    poison = rng.sample(sorted(undisturbed), rng.randint(1, 2))
    limited = (*ON_RAY, "runtime.memory_gb=0.3")
    plan = light_plan(dataroot, run, limited, seconds=0.02, faults=dict.fromkeys(poison, fault))
    outcome = label(plan, cluster.address)
    assert (outcome.labelled, outcome.failed) == (SCENES * SAMPLES - len(poison), len(poison))
    check(run, undisturbed, dict.fromkeys(poison, words))
