"""Run the same steps as a Ray Data graph.

    frames -> load + project -> regions + semantics -> vote -> shards

Ray runs every operator at least once: shards have deterministic names and are published by create-if-absent,
so a repeated write changes nothing. Resume is ours (see `labelgen.shards`); Ray Data's checkpointing stays
off. What happens to frames that fail, and to workers that die, is in `labelgen.engine.ray.operators`.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset, TaskPoolStrategy
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from labelgen.core.errors import UserError
from labelgen.engine.drain import Stop, draining
from labelgen.engine.driver import Committed, Watch
from labelgen.engine.job import FIRST, LAST, Job
from labelgen.engine.ray.connection import EXTRA_LOCAL_CPUS, connected
from labelgen.engine.ray.operators import Operator, pack, run_task, unpack, write_batch
from labelgen.engine.ray.prometheus import ReportingSupervisor
from labelgen.io.place import absolute

#: CPU shares. Below one, and actors' together at most half of a CPU per worker, since an actor pool that
#: holds all CPUs of a cluster would wait for ever for the readers that feed it.
TASK_CPUS, MODEL_CPUS = 0.5, 0.5
#: Bytes that reading, voting and writing ask for at most, where memory is asked for: a cloud, six image files
#: and their codes weigh some tens of MB, and Python and its libraries the rest.
TASK_MEMORY = 1 << 30
#: Bytes of a frame between the models and the writing, about, and with dense features; the share of Ray's
#: object stores that the frames of one shard may fill while they wait for each other.
FRAME_BYTES, DENSE_FRAME_BYTES, SHARD_SHARE = 4 << 20, 16 << 20, 1 / 16


def run_ray(job: Job, watch: Watch, address: str | None = None) -> Iterator[Committed]:
    """Label the job's frames on Ray; yields after every committed shard.

    Args:
        job: the planned run.
        watch: what to heed and to tell.
        address: of a running cluster (``ray://…``, ``host:port``, ``auto``); None starts a local Ray, unless
            this process is connected already.

    Raises:
        UserError: the cluster cannot be reached or is unfit, or a worker found what no frame is to blame for:
            weights that cannot be loaded, a disk that is full.
    """
    with connected(address), draining(watch.stop):  # after Ray, which sets a handler of its own
        watch.figures["cores"], watch.figures["gpus"] = _offered(local=address is None)
        supervisor = _start_supervisor(job)
        with _watching(supervisor, watch) as state:
            rows = iter(_graph(job, supervisor, local=address is None).iter_rows())
            while True:
                try:
                    row = next(rows, None)
                except Exception as error:
                    raise _fault(supervisor) or error from error
                if row is None:
                    break
                committed: Committed = pickle.loads(row["committed"])
                state.committed += committed.frames + committed.failed
                yield committed
                if state.finished():
                    break  # the rest would only be passed through
        with contextlib.suppress(RayError):
            watch.figures.update(ray.get(supervisor.figures.remote(), timeout=10))


def _graph(job: Job, supervisor: Any, *, local: bool) -> Dataset:
    runtime = job.config.runtime
    # Operators are pickled once per task: keep them small. Workers may have another working directory.
    small = replace(job, frames=(), run=absolute(job.run), root=Path(job.root).absolute())
    models = [name for name in job.operators() if name not in (FIRST, LAST)]
    pools = _pool_sizes(job, len(models), local)
    # Who is given a GPU has to use it: where torch cannot, "auto" would go on without.
    on_gpu = small.with_device("cuda") if pools.gpus else small
    memory = round(runtime.memory_gb * 2**30) if runtime.memory_gb else None
    little = min(memory, TASK_MEMORY) if memory else None
    # Few frames a block, so that all workers have work from the start; but not one each on long runs,
    # since the driver's memory grows with the number of blocks.
    size = max(1, min(8, len(job.frames) // (8 * pools.models)))
    blocks = [pack(job.frames[begin : begin + size]) for begin in range(0, len(job.frames), size)]
    dataset: Dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks))

    # Tasks: nothing but unpacking; Ray fuses this with the reading, as both ask for the same.
    dataset = dataset.flat_map(
        unpack, compute=TaskPoolStrategy(size=pools.tasks), num_cpus=TASK_CPUS, memory=little
    )
    # Tasks: stateless, bound by file reads and one core. The pool is capped so that a fast disk cannot
    # fill the object store with frames that wait for a model. Where the models run on CPUs, too, Ray fuses
    # this with their actors, as both ask for the same: fewer processes, and nothing to be carried over.
    dataset = dataset.map(
        partial(run_task, small, FIRST, supervisor, False),
        compute=TaskPoolStrategy(size=pools.tasks),
        num_cpus=TASK_CPUS,
        memory=little,
    )
    # Actors: loading a model takes seconds to minutes and happens once per actor. Both models sit in one
    # actor, so that an image is decoded once; apart (runtime.fuse_models=false) where they load different
    # GPUs. Bound by the GPU or, without one, by a core.
    for name in models:
        dataset = dataset.map(
            Operator,  # type: ignore[arg-type]  # ray's stubs know functions only
            fn_constructor_args=(on_gpu, name, supervisor),
            compute=pools.strategy(),
            num_gpus=pools.gpus or None,
            num_cpus=None if pools.gpus else MODEL_CPUS / len(models),
            memory=memory,
        )
    # Tasks: milliseconds per frame; Ray fuses them with the writing, as both ask for the same.
    dataset = dataset.map(
        partial(run_task, small, LAST, supervisor, True),
        compute=TaskPoolStrategy(size=pools.tasks),
        num_cpus=TASK_CPUS,
        memory=little,
    )
    # Tasks: one call writes one shard, whole, once. It groups whatever frames reach it; bound by the disk.
    return dataset.map_batches(
        partial(write_batch, small, supervisor),
        batch_size=_frames_per_shard(job),
        batch_format="pyarrow",
        compute=TaskPoolStrategy(size=pools.tasks),
        num_cpus=TASK_CPUS,
        memory=little,
    )


@dataclass(frozen=True)
class _Pools:
    """Sizes of the worker pools: model actors (at least, at most), tasks at a time, GPUs of an actor."""

    models: int
    most: int
    tasks: int
    gpus: float

    def strategy(self) -> ActorPoolStrategy:
        if self.most > self.models:
            return ActorPoolStrategy(min_size=self.models, max_size=self.most)
        return ActorPoolStrategy(size=self.models)


def _pool_sizes(job: Job, pools: int, local: bool) -> _Pools:
    """For the cluster that we are connected to, with so many pools of model actors."""
    runtime, frames = job.config.runtime, len(job.frames)
    cores, available = _offered(local)
    if runtime.device == "cuda" and not available and not runtime.max_model_workers:
        raise UserError(
            "runtime.device is cuda, but the Ray cluster has no GPU; add GPU nodes or use device=cpu"
        )
    gpus = runtime.gpus_per_worker if available and runtime.device != "cpu" else 0.0
    fitting = int(available / gpus / pools) if gpus else cores
    workers = min(runtime.model_workers or max(1, fitting), frames)
    most = min(max(workers, runtime.max_model_workers or 0), frames)
    if gpus * workers * pools > available and not runtime.max_model_workers:
        raise UserError(
            f"{pools} pool(s) of {workers} model worker(s) need {gpus * workers * pools:g} GPUs, "
            f"the cluster has {available:g}; lower runtime.model_workers or runtime.gpus_per_worker, or set "
            "runtime.max_model_workers if the cluster grows"
        )
    # Reading and voting take a fraction of what the models take.
    return _Pools(workers, most, min(cores, frames, max(2, 4 * workers)), gpus)


def _frames_per_shard(job: Job) -> int:
    """As many as are asked for; fewer where Ray's object stores are small.

    Frames wait there for the others of their shard. If they filled what Ray Data lets an operator hold, the
    models would only ever get a frame when all else stands still.
    """
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    dense = getattr(job.config.semantics, "dense_features", None)
    frame = FRAME_BYTES if dense is None else DENSE_FRAME_BYTES
    fitting = int(resources.get("object_store_memory", 0.0) * SHARD_SHARE / frame)
    return max(1, min(job.config.runtime.frames_per_shard, fitting))


def _offered(local: bool) -> tuple[int, float]:
    """Cores and GPUs of the cluster that we are connected to."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores = int(resources.get("CPU", 1)) - (EXTRA_LOCAL_CPUS if local else 0)
    return max(1, cores), resources.get("GPU", 0.0)


def _start_supervisor(job: Job) -> Any:
    """The run's books, on the driver's node: the loss of any other one leaves them whole."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor: Any = ray.remote(ReportingSupervisor)
    forever = {"max_restarts": -1, "max_task_retries": -1}
    return actor.options(num_cpus=0, scheduling_strategy=here, **forever).remote(str(job.run))


def _fault(supervisor: Any) -> UserError | None:
    """What a worker reported before it ended the run, if one did."""
    with contextlib.suppress(RayError):
        fault: UserError | None = ray.get(supervisor.fault.remote(), timeout=10)
        return fault
    return None


@dataclass
class _State:
    """What the watching thread knows, for the loop over the results."""

    stop: Stop
    left: int = 0
    committed: int = 0
    inside: int = 1

    def finished(self) -> bool:
        """Whether the run is being stopped, and all that was begun is committed."""
        return self.stop.is_set() and self.inside == 0 and self.committed >= self.left


@contextmanager
def _watching(supervisor: Any, watch: Watch) -> Iterator[_State]:
    """Ask the supervisor twice a second, in a thread; pass its counts on, and the wish to stop to it."""
    ended = threading.Event()
    state = _State(watch.stop)

    def look() -> None:
        now = ray.get(supervisor.take.remote(), timeout=10)
        state.left += now.left
        state.inside = now.inside
        if now.passed:
            watch.on_frame(now.passed)
        if watch.strict and now.failed:
            watch.stop.set()
        if watch.stop.is_set():
            ray.get(supervisor.stop.remote(), timeout=10)

    def loop() -> None:
        while not ended.wait(0.5):
            with contextlib.suppress(RayError):  # counts are a courtesy: the run itself says what is wrong
                look()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        ended.set()
        thread.join(timeout=15)
        with contextlib.suppress(RayError):
            look()
