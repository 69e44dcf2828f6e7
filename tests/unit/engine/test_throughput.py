"""The throughput model beside a simulation that hands frames to workers one by one."""

import heapq
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.engine.throughput import RUN_OBJECTS, Costs, Machines, estimate, limits, stored, wall_time


def costs(device="cuda", load=0.1, model=1.0, vote=0.1, start=5.0, **more):
    seconds = {"load": load, "regions": 0.75 * model, "semantics": 0.25 * model, "vote": vote}
    values = {"read_bytes": 1e6, "frame_bytes": 1e6, "shard_bytes": 1000, "shard_objects": 70, "frames": 8}
    return Costs(seconds, start, device=device, **(values | more))


class Pool:
    """Servers that take one job at a time, in the order in which jobs come."""

    def __init__(self, number):
        self.free = [0.0] * number

    def serve(self, ready, seconds):
        begin = max(ready, heapq.heappop(self.free))
        heapq.heappush(self.free, begin + seconds)
        return begin + seconds


def simulate(found, machines, frames):
    """Seconds until the last frame has passed load, models and vote; the driver hands out each frame."""
    driver, workers, ends = Pool(1), Pool(machines.workers), []
    readers, writers = Pool(int(machines.cores)), Pool(int(machines.cores))
    handed = [driver.serve(0.0, machines.driver_s) for _ in range(frames)]
    loaded = sorted(readers.serve(ready, found.seconds["load"]) for ready in handed)
    for ready in sorted(workers.serve(ready, found.model_s) for ready in loaded):
        ends.append(writers.serve(ready, found.seconds["vote"]))
    return found.start_s + max(ends)


@settings(max_examples=60, deadline=None)
@given(
    model=st.floats(0.01, 5),
    load=st.floats(0.001, 0.2),
    workers=st.integers(1, 64),
    frames=st.integers(1, 800),
    driver_s=st.floats(0, 0.05),
)
def test_the_model_is_within_two_frames_of_a_simulation(model, load, workers, frames, driver_s):
    found = costs(model=model, load=load, vote=load / 2)
    # Cores enough: the simulation's readers and writers are pools of their own, the model's are one.
    machines = Machines(workers, cores=64 * workers, storage_bytes_s=1e15, driver_s=driver_s)
    expected, _ = wall_time(found, machines, frames)
    one = found.model_s + found.core_s + driver_s
    assert abs(simulate(found, machines, frames) - expected) <= 2 * one + 1e-6


def test_the_slowest_resource_sets_the_rate_and_is_named():
    found = costs(model=2.0, load=0.2, vote=0.2)
    rates = limits(found, Machines(8, cores=64, storage_bytes_s=1e9, driver_s=0.01))
    assert rates == pytest.approx({"gpu": 4.0, "cpu": 160.0, "storage": 500.0, "driver": 100.0})
    for changed, bound in (
        (Machines(8, 64), "gpu"),
        (Machines(8, 1), "cpu"),
        (Machines(8, 64, storage_bytes_s=1e6), "storage"),
        (Machines(1000, 8000, driver_s=0.1), "driver"),
    ):
        assert wall_time(found, changed, 10_000)[1] == bound


def test_without_a_gpu_models_and_the_rest_share_the_cores():
    found = costs("cpu", model=1.0, load=0.5, vote=0.5, start=0.0)
    assert limits(found, Machines(2, 2, driver_s=0)) == pytest.approx(
        {"cpu": 1.0, "storage": 625.0, "driver": float("inf")}
    )
    wall, _ = wall_time(found, Machines(2, 2, driver_s=0), 101)
    assert wall == pytest.approx(51 * 2.0), "the last round has one frame, and takes as long"


def test_twice_the_gpus_take_half_the_time_until_something_else_is_slower():
    found = costs(model=1.5, load=0.05, vote=0.02, start=60.0)
    few, many, most = (estimate(found, 1_000_000, gpus, price=2.0) for gpus in (1, 8, 640))
    assert few["wall_s"] / many["wall_s"] == pytest.approx(8, rel=0.01)
    assert few["cost"] == pytest.approx(many["cost"], rel=0.01)
    assert (few["bound"], many["bound"], most["bound"]) == ("gpu", "gpu", "driver")
    assert most["busy"] < 0.5 < many["busy"] <= 1
    assert most["cost"] > 2 * many["cost"], "GPUs that wait are paid for"
    assert few["gpu_hours"] == pytest.approx(few["wall_s"] / 3600)


def test_workers_that_share_a_gpu_do_not_add_to_it_and_large_ones_take_two():
    found = costs(model=1.0)
    one = estimate(found, 1000, 8)
    assert estimate(found, 1000, 8, gpus_per_worker=0.5)["wall_s"] == one["wall_s"]
    assert estimate(found, 1000, 8, gpus_per_worker=2)["wall_s"] > 1.9 * (one["wall_s"] - found.start_s)


def test_nothing_to_do_takes_nothing():
    nothing = estimate(costs(), 0, 8, price=3.0)
    assert (nothing["wall_s"], nothing["gpu_hours"], nothing["cost"], nothing["busy"]) == (0, 0, 0, 0)


def test_bytes_and_objects_are_those_of_frames_and_of_shards():
    found = costs(frame_bytes=1000, shard_bytes=50, shard_objects=70)
    assert stored(found, 128, 64) == (128_000 + 100, 140 + RUN_OBJECTS)
    assert stored(found, 129, 64) == (129_000 + 150, 210 + RUN_OBJECTS)


def test_the_table_of_the_docs_is_the_models():
    """docs/scaling.md: a million frames, 8 cores a GPU."""
    page = (Path(__file__).resolve().parents[3] / "docs/scaling.md").read_text()
    rows = re.findall(r"^\| ([\d.]+) s.*?\|(.*)\|$", page, re.M)
    assert [row[0] for row in rows] == ["0.5", "2", "6"]
    units = {"min": 60, "h": 3600, "d": 86400}
    for seconds, cells in rows:
        found = costs(model=float(seconds), load=0.06, vote=0.03, start=90.0, frame_bytes=1.08e6)
        for gpus, cell in zip((1, 8, 64, 256), cells.split("|"), strict=True):
            expected = estimate(found, 1_000_000, gpus)
            time, unit, hours, bound = re.match(
                r" ([\d.]+) (\w+), ([\d,]+) GPU-h(?: \((\w+)\))? ", cell
            ).groups()
            assert float(time) * units[unit] == pytest.approx(expected["wall_s"], rel=0.02)
            assert float(hours.replace(",", "")) == pytest.approx(expected["gpu_hours"], rel=0.005)
            assert (bound or "gpu") == expected["bound"]
