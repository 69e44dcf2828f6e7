"""Run the same stages as a Ray Data graph.

    frames -> load + project -> regions + semantics -> vote -> shards

Rows hold one pickled `FrameTask` (file bytes, run-length codes and small arrays; never pixels or dense
masks), so that Arrow sees one bytes column whatever the stages add. Ray runs every operator at least once:
shards have deterministic names and are published by create-if-absent, so a repeated write changes nothing.
Resume is ours (see `labelgen.shards`); Ray Data's checkpointing stays off.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy

from labelgen.errors import UserError
from pipelines.job import Committed, Job, commit
from pipelines.stages import FrameTask, Stage, run_stages

#: Logical CPUs offered beyond the physical ones on a local Ray. With as many as there are cores, two actor
#: pools could hold them all while the readers that feed them wait for one for ever.
EXTRA_LOCAL_CPUS = 4
#: CPU share of a model actor; below one for the same reason on clusters that we did not start.
MODEL_ACTOR_CPUS = 0.5

Row = dict[str, Any]


def run_ray(job: Job, on_frame: Callable[[int], None], address: str | None = None) -> Iterator[Committed]:
    """Label the job's frames on Ray; yields after every committed shard.

    Args:
        job: the planned run.
        on_frame: called with the number of frames that have newly left the last stage.
        address: of a running cluster (``ray://…``, ``host:port``, ``auto``); None starts a local Ray.

    Raises:
        UserError: the cluster cannot be reached or is unfit.
    """
    connect(address)
    try:
        counter = ray.remote(num_cpus=0)(_FrameCounter).remote()
        dataset = _graph(job, counter)
        with _polling(counter, on_frame):
            for row in dataset.iter_rows():
                yield pickle.loads(row["committed"])
    finally:
        if address is None:
            ray.shutdown()


def _graph(job: Job, counter: Any) -> Dataset:
    workers, cores = _pool_sizes(job)
    worker_job = replace(job, frames=())  # operators are pickled once per task: keep them small
    rows = [{"task": pickle.dumps(FrameTask(frame), protocol=5)} for frame in job.frames]
    # Few rows a block, so that all workers have work from the start; but not one each on long runs,
    # since the driver's memory grows with the number of blocks.
    rows_per_block = max(1, min(8, len(rows) // (8 * workers)))
    dataset: Dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // rows_per_block))

    # Tasks: stateless, bound by file reads and one core. The pool is capped so that a fast disk cannot
    # fill the object store with frames that wait for a model.
    dataset = dataset.map(
        partial(_run_row, worker_job.load()),
        compute=TaskPoolStrategy(size=cores),
        num_cpus=1,
    )
    # Actors: loading a model takes seconds to minutes and happens once per actor. Both models sit in one
    # actor, so that an image is decoded once. Bound by the GPU (or, without one, by its core).
    gpus = _gpus_per_worker(job)
    dataset = dataset.map(
        _StageActor,  # type: ignore[arg-type]  # ray's stubs know functions only
        fn_constructor_args=(worker_job,),
        compute=ActorPoolStrategy(size=workers),
        num_gpus=gpus or None,
        num_cpus=None if gpus else MODEL_ACTOR_CPUS,
    )
    # Tasks: milliseconds per frame; fused by Ray with nothing, since its neighbours differ in batching.
    dataset = dataset.map(
        partial(_run_row, worker_job.label(), counter=counter),
        compute=TaskPoolStrategy(size=cores),
        num_cpus=0.5,
    )
    # Tasks: one call writes one shard, whole, once. It groups whatever frames reach it; bound by disk.
    return dataset.map_batches(
        partial(_write_batch, worker_job),
        batch_size=job.config.runtime.frames_per_shard,
        batch_format="pyarrow",
        compute=TaskPoolStrategy(size=cores),
        num_cpus=0.5,
    )


def _run_row(stages: list[Stage], row: Row, counter: Any = None) -> Row:
    task = run_stages(stages, pickle.loads(row["task"]))
    if counter is not None:
        counter.add.remote(1)
    return {"task": pickle.dumps(task, protocol=5)}


class _StageActor:
    """The model stages, set up once per actor."""

    def __init__(self, job: Job) -> None:
        self.stages = job.models()
        for stage in self.stages:
            stage.setup()

    def __call__(self, row: Row) -> Row:
        return _run_row(self.stages, row)


def _write_batch(job: Job, batch: Any) -> dict[str, list[bytes]]:
    tasks = [pickle.loads(data.as_py()) for data in batch.column("task")] if batch.num_rows else []
    if not tasks:  # an empty block without columns reaches the last operator when there is nothing to do
        return {"committed": []}
    tasks.sort(key=lambda task: (task.frame.scene_id, task.frame.index, task.frame.frame_id))
    return {"committed": [pickle.dumps(commit(job, tasks))]}


def _pool_sizes(job: Job) -> tuple[int, int]:
    """(model actors, concurrent CPU tasks) for the cluster that we are connected to."""
    resources = _cluster()
    cores = max(1, int(resources.get("CPU", 1)))
    if job.config.runtime.model_workers:
        workers = job.config.runtime.model_workers
    elif gpus := _gpus_per_worker(job):
        workers = max(1, int(resources.get("GPU", 0) / gpus))
    else:
        workers = max(1, cores - EXTRA_LOCAL_CPUS)
    return min(workers, len(job.frames)), min(cores, len(job.frames))


def _cluster() -> dict[str, float]:
    """What the cluster offers, by resource."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def _gpus_per_worker(job: Job) -> float:
    runtime = job.config.runtime
    available = _cluster().get("GPU", 0)
    if runtime.device == "cuda" and not available:
        raise UserError(
            "runtime.device is cuda, but the Ray cluster has no GPU; add GPU nodes or use device=cpu"
        )
    return runtime.gpus_per_worker if available and runtime.device != "cpu" else 0.0


def connect(address: str | None) -> None:
    """Connect to a cluster, or start a local one with spare logical CPUs."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's own remarks on Ray Data's actors go to the terminal at level "error" and mean nothing to a user.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        try:
            _knock(address)
            ray.init(address=address, **quiet)
        except Exception as error:
            reason = " ".join(str(error).split())[:500]
            raise UserError(
                f"cannot connect to Ray at {address!r} ({type(error).__name__}: {reason}); "
                "check RAY_ADDRESS, that the cluster is up (`ray status`), and that its Ray version is "
                f"{ray.__version__}"
            ) from error
    else:
        cores = len(os.sched_getaffinity(0))
        ray.init(address="local", num_cpus=cores + EXTRA_LOCAL_CPUS, include_dashboard=False, **quiet)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.execution_options.verbose_progress = False
    # Its advice on memory is for graphs whose parts are not known beforehand.
    context.issue_detectors_config.high_memory_detector_config.detection_time_interval_s = -1
    # A first batch on a cold node loads weights and may compile: slow is not stuck.
    context.execution_no_progress_timeout_s = 6 * 3600
    # Ours is the progress that is shown; Ray would tell of its own, and warn that it is off.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def _knock(address: str) -> None:
    """Fail within seconds where no Ray listens, or one with another token; Ray itself would try for minutes.

    Raises:
        OSError: no connection, or something else listens there.
        ray.exceptions.AuthenticationError: its token is not ours.
    """
    if address.startswith(("http://", "https://")):
        raise OSError("that is the dashboard's address, for `ray job submit`; the cluster's is HOST:6379")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # such as "auto"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        # The beginning of HTTP/2, which Ray's servers speak; they answer with their settings, frame type 4.
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        try:
            answer = connection.recv(9)
        except OSError:
            answer = b""
    if answer[3:4] != b"\x04":
        raise OSError(
            "something listens there, but no Ray; its port is 6379 unless `ray start` was told another"
        )


class _FrameCounter:
    """Counts frames that left the last stage, for the driver's progress bar."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int) -> None:
        self.count += number

    def take(self) -> int:
        count, self.count = self.count, 0
        return count


@contextmanager
def _polling(counter: Any, on_frame: Callable[[int], None]) -> Iterator[None]:
    """Ask the counter once a second, in a thread, and pass its count on."""
    stop = threading.Event()

    def loop() -> None:
        stopped = False
        while not stopped:
            stopped = stop.wait(1.0)
            try:
                on_frame(ray.get(counter.take.remote(), timeout=10))
            except ray.exceptions.RayError:
                return  # progress is a courtesy: the run itself reports what went wrong

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)
