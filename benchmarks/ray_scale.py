"""The Ray runner beside the sequential one: overhead, two workers, spread over nodes, memory, start-up.

All stages are those of the main job, but for the models: a stage that computes (or sleeps) for a given time,
and regions and scores that are made up. Costs per frame are slopes between a short and a long run, so that
start-up, which is a claim of its own, is in none of them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import harness
from harness import Claim, score

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labelgen.core.frame import Frame
from labelgen.engine.driver import Watch
from labelgen.engine.job import Job
from labelgen.engine.recipe import split
from labelgen.engine.task import FrameTask, Step
from labelgen.runs import open_run
from tests.helpers.light_jobs import LightJob, light_plan
from tests.helpers.nuscenes_root import make_dataroot

#: Seconds of work a frame: of the runner's overhead; and of two workers against one, where they are to be
#: what bounds the run. At 0.2 s one worker leaves the second core to reading, voting, writing and Ray.
WORK_S, BOUND_S = 0.2, 1.0


@dataclass
class Placed:
    """Sleeps, and leaves a mark that says when, in which process and on which node a frame was done."""

    seconds: float
    marks: str
    name: str
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ()
    holds_model: ClassVar[bool] = True

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        import ray

        time.sleep(self.seconds)
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        (Path(self.marks) / f"{task.frame.frame_id}.{os.getpid()}.{node}").touch()


@dataclass(frozen=True)
class PlacedJob(LightJob):
    """A light job whose first model is `Placed`.

    Attributes:
        marks: folder for them.
        stage: name of the model.
    """

    marks: str = ""
    stage: str = "placed"

    def steps(self) -> list[Step]:
        before, (_, *models), after = split(super().steps())
        return [*before, Placed(self.seconds, self.marks, self.stage), *models, *after]


def at_work(marks: Path, part: int) -> list[tuple[float, str]]:
    """When and by whom frames were done, from when all who took part were at work.

    On so short a run, who is up first would do most of it.

    Args:
        marks: of a `PlacedJob`.
        part: of the marks' names that counts: 1 for processes, 2 for nodes.
    """
    done = sorted((path.stat().st_mtime, path.name.split(".")[part]) for path in marks.iterdir())
    first = {who: when for when, who in reversed(done)}
    return [(when, who) for when, who in done if when >= max(first.values())]


class Bench:
    """Runs of a small data root, repeated to any number of frames."""

    def __init__(self, folder: Path, points: int, image_size: tuple[int, int]) -> None:
        self.folder, self.count = folder, 0
        folder.mkdir()
        self.root = make_dataroot(folder, scenes=2, samples=4, points=points, image_size=image_size)

    def job(self, frames: int, *overrides: str, **more: Any) -> Job:
        """So many frames, in a new run, that are all still to be done."""
        self.count += 1
        settings = ("runtime.frames_per_shard=64", "shards.store_points=false", *overrides)
        plan = light_plan(self.root, self.folder / f"run-{self.count}", settings, **more)
        plan.open_run()
        return replace(plan.job, frames=tuple(repeated(plan.job.frames, frames)))

    def placed(self, frames: int, *overrides: str, seconds: float, stage: str = "placed") -> PlacedJob:
        """As `job`, with a sleeping model that leaves marks."""
        job = self.job(frames, *overrides, seconds=seconds)
        given = {name: getattr(job, name) for name in LightJob.__dataclass_fields__}
        marks = self.folder / f"marks-{self.count}"
        marks.mkdir()
        return PlacedJob(**given, marks=str(marks), stage=stage)

    def run(self, job: Job, address: str | None = None) -> float:
        """Seconds that a run takes; it is checked and removed afterwards."""
        begin = time.perf_counter()
        self.label(job, address)
        seconds = time.perf_counter() - begin
        self.check(job)
        return seconds

    def label(self, job: Job, address: str | None = None) -> None:
        """Label all frames: on Ray, or in this process without an address."""
        if address is None:
            from labelgen.engine.sequential import run_sequential

            done = sum(shard.frames for shard in run_sequential(job, Watch()))
        else:
            from labelgen.engine.ray.runner import run_ray

            done = sum(shard.frames for shard in run_ray(job, Watch(), address))
        assert done == len(job.frames)

    def check(self, job: Job) -> None:
        """That the run holds every frame; removes it."""
        assert len(open_run(job.run).frames) == len(job.frames)
        shutil.rmtree(job.run)


def repeated(frames: tuple[Frame, ...], count: int) -> Iterator[Frame]:
    """So many frames with ids of their own; the files repeat."""
    for number in range(count):
        one = frames[number % len(frames)]
        yield replace(one, frame_id=f"{number:06d}-{one.frame_id[:8]}")


def slope(measure: Callable[[int], float], short: int, long: int, rounds: int) -> float:
    """Seconds per frame; the median over rounds."""
    return statistics.median((measure(long) - measure(short)) / (long - short) for _ in range(rounds))


def run(quick: bool) -> list[Claim]:
    """All claims; goals are those of the project."""
    claims: list[Claim] = []
    with tempfile.TemporaryDirectory() as temporary, cluster(2, 3) as made:
        folder = Path(temporary)
        small = Bench(folder / "small", points=500, image_size=(160, 90))
        claims += shown(overhead(small, made.address, quick))
    with tempfile.TemporaryDirectory() as temporary, cluster(4, 2) as made:
        small = Bench(Path(temporary) / "small", points=500, image_size=(160, 90))
        claims += shown([spread(small, made.address, quick)])
    with tempfile.TemporaryDirectory() as temporary, cluster(1, 6) as made:
        large = Bench(Path(temporary) / "large", points=34_000, image_size=(800, 450))
        claims += shown(memory(large, made.address, quick))
    return claims + shown([start_up()])


def shown(claims: list[Claim]) -> list[Claim]:
    """As they come: all of it takes half an hour."""
    print(*claims, sep="\n", file=sys.stderr, flush=True)
    return claims


def overhead(bench: Bench, address: str, quick: bool) -> list[Claim]:
    """Cost per frame against the sequential runner, and two workers against one."""
    rounds, short, long = (1, 8, 24) if quick else (3, 16, 64)

    def on_ray(workers: int, seconds: float) -> Callable[[int], float]:
        overrides = (f"runtime.model_workers={workers}", "runtime.frames_per_shard=4")
        return lambda frames: bench.run(bench.job(frames, *overrides, seconds=seconds), address)

    def alone(seconds: float) -> Callable[[int], float]:
        overrides = ("runtime.frames_per_shard=4",)
        return lambda frames: bench.run(bench.job(frames, *overrides, seconds=seconds))

    on_ray(2, 0.0)(8)  # processes and kernels
    alone(0.0)(2)
    sequential = slope(alone(WORK_S), short, long, rounds)
    one = slope(on_ray(1, WORK_S), short, long, rounds)
    two = slope(on_ray(2, WORK_S), short, long, rounds)
    many = (64, 256) if quick else (128, 1024)
    few = (2, 6) if quick else (4, 16)
    bound = [slope(on_ray(workers, BOUND_S), *few, rounds) for workers in (1, 2)]
    nothing = slope(on_ray(2, 0.0), *many, rounds)
    without = slope(alone(0.0), *many, rounds)
    return [
        score("runner_at_0.2s", one, baseline=sequential, goal=0.9, unit="s/frame", lower_is_better=True),
        score(
            "overhead_at_none",
            1e3 * (nothing - without),
            goal=25.0,
            unit="ms/frame",
            lower_is_better=True,
            agreement={"ray": 1e3 * nothing, "sequential": 1e3 * without},
        ),
        score("two_workers", bound[1], baseline=bound[0], goal=1.8, unit="s/frame", lower_is_better=True),
        score("two_workers_at_0.2s", two, baseline=one, goal=None, unit="s/frame", lower_is_better=True),
    ]


def spread(bench: Bench, address: str, quick: bool) -> Claim:
    """The busiest of four nodes against an even share; the work sleeps, as four nodes have two cores."""
    frames = 80 if quick else 240
    job = bench.placed(frames, "runtime.model_workers=4", "runtime.frames_per_shard=8", seconds=0.3)
    bench.run(job, address)
    nodes = Counter(node for _, node in at_work(Path(job.marks), 2))
    even = sum(nodes.values()) / 4
    worst = max(abs(count - even) / even for count in (*nodes.values(), *[0] * (4 - len(nodes))))
    shares = {"frames": frames, "frames_by_node": "/".join(str(count) for count in sorted(nodes.values()))}
    return score(
        "spread_over_4_nodes",
        100 * worst,
        goal=15.0,
        unit="% from even",
        lower_is_better=True,
        agreement=shares,
    )


def memory(bench: Bench, address: str, quick: bool) -> list[Claim]:
    """Most memory of the driver and in the object store, for few frames and for many."""
    few, many = (64, 256) if quick else (200, 5000)
    # Objects of the made-up street are few and dense: to find them would take ten times all else.
    light = ("runtime.model_workers=2", "labels.instances=false")
    bench.run(bench.job(16, *light), address)
    driver, store = [], []
    for frames in (few, many):
        job = bench.job(frames, *light)
        with sampling() as peaks:  # not of the check, which reads all manifests
            bench.label(job, address)
        bench.check(job)
        driver.append(peaks["driver"])
        store.append(peaks["store"])
    return [
        score(
            f"{name}_memory_{many}_frames",
            peaks[1] / 2**20,
            baseline=peaks[0] / 2**20,
            goal=1 / 1.1,
            unit="MiB",
            lower_is_better=True,
            agreement={"baseline_frames": few},
        )
        for name, peaks in (("driver", driver), ("object_store", store))
    ]


def start_up() -> Claim:
    """A new process, with a Ray of its own, until the first of six tiny frames is committed."""
    import ray

    ray.shutdown()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary) / "first", points=500, image_size=(160, 90))
        request = (
            f'{{"dataroot": "{bench.root}", "run": "{temporary}/run", '
            '"overrides": ["runtime.runner=ray", "runtime.frames_per_shard=1"]}'
        )
        command = [sys.executable, "-m", "tests.helpers.light_jobs", request]
        here = Path(__file__).resolve().parent.parent
        begin = time.perf_counter()
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=here, stdout=quiet, stderr=quiet)
        while not list(Path(temporary).glob("run/manifests/*.json")):
            if process.poll() is not None or time.perf_counter() - begin > 200:
                raise RuntimeError("no frame was labelled")
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        process.wait()
    return score("start_to_first_frame", seconds, goal=25.0, unit="s", lower_is_better=True)


@contextmanager
def cluster(nodes: int, cpus: int) -> Iterator[Any]:
    """Several raylets on this machine."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # nobody else is to join
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "object_store_memory": 500 << 20})
    for _ in range(nodes - 1):
        made.add_node(num_cpus=cpus, object_store_memory=500 << 20)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@contextmanager
def sampling() -> Iterator[dict[str, int]]:
    """While the block lasts, look five times a second; gives the most memory seen, in bytes."""
    peaks = {"driver": 0, "store": 0}
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(0.2):
            peaks["driver"] = max(peaks["driver"], resident_bytes())
            peaks["store"] = max(peaks["store"], stored_bytes())

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def stored_bytes() -> int:
    """Bytes in the object stores of all nodes."""
    import ray
    from ray._private.internal_api import node_stats

    total = 0
    for node in ray.nodes() if ray.is_initialized() else []:
        if node["Alive"]:
            stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
            total += stats.store_stats.object_store_bytes_used
    return total


if __name__ == "__main__":
    harness.main("ray_scale", __doc__, run)
