"""The throughput model of docs/scaling.md beside measured runs: rates of 1 to 8 workers, the driver's share.

The models' stage sleeps, as a CPU does while a GPU computes, so that two cores carry many workers. Its cost
and that of all other stages are measured by the probe of `labelgen plan`, on this machine, before the runs;
the model then says how many frames a second there will be. Rates are counted while all workers are at work.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import harness
from harness import Claim, score

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ray_scale import Bench, PlacedJob, at_work, cluster

from labelgen.engine.probe import measure
from labelgen.engine.throughput import Machines, limits

MODEL_S = 0.4


def gpu_job(bench: Bench, frames: int, *overrides: str, seconds: float = MODEL_S) -> PlacedJob:
    """So many frames in a new run, whose model takes its time elsewhere, as on a GPU."""
    return bench.placed(frames, "runtime.frames_per_shard=16", *overrides, seconds=seconds, stage="regions")


def steady_rate(marks: Path, workers: int) -> float:
    """Frames a second from when all workers are at work until they begin to run out of it."""
    times = [when for when, _ in at_work(marks, 1)]
    times = times[: len(times) - 2 * workers]
    return (len(times) - 1) / (times[-1] - times[0])


def run(quick: bool) -> list[Claim]:
    """All claims."""
    claims: list[Claim] = []
    cores = len(os.sched_getaffinity(0))
    frames = 32 if quick else 120  # of each worker
    with tempfile.TemporaryDirectory() as temporary, cluster(2, 8) as made:
        bench = Bench(Path(temporary) / "small", points=2000, image_size=(160, 90))
        job = gpu_job(bench, 16)
        costs = replace(measure(job, job.frames[:8]), device="cuda")
        bench.run(gpu_job(bench, 16), made.address)  # processes and kernels
        driver_s = driver_time(bench, made.address, *((32, 128) if quick else (128, 512)))
        claims.append(score("driver", 1e3 * driver_s, goal=None, unit="ms/frame", lower_is_better=True))
        for workers in (1, 2, 4, 8):
            machines = Machines(workers, cores, driver_s=driver_s)
            rates = limits(costs, machines)
            bound = min(rates, key=lambda name: rates[name])
            job = gpu_job(bench, frames * workers, f"runtime.model_workers={workers}")
            bench.run(job, made.address)
            measured = steady_rate(Path(job.marks), workers)
            claims.append(
                score(
                    f"rate_of_{workers}_workers",
                    measured,
                    baseline=rates[bound],
                    goal=0.85,
                    unit="frames/s",
                    agreement={"baseline": "the model", "bound": bound},
                )
            )
    return claims


def driver_time(bench: Bench, address: str, short: int, long: int) -> float:
    """Seconds that driver, the cluster's control process and the supervisor compute for a frame."""
    used = []
    for frames in (short, long):
        job = gpu_job(bench, frames, "runtime.model_workers=2", seconds=0.0)
        before = computed()
        bench.run(job, address)
        used.append(computed() - before)
    return (used[1] - used[0]) / (long - short)


def computed() -> float:
    """CPU seconds of this process and of the clusters' control processes so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            ticks += sum(map(int, rest.split()[11:13])) if name == "gcs_server" else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    harness.main("scaling", __doc__, run)
