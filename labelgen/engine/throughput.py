"""How fast a run goes on so many GPUs, how long it takes and what it costs: a model of one page.

Every frame takes its share of four resources: model workers, cores, the way to the storage, the driver. They
work side by side on different frames, so that the one with the fewest frames a second sets the rate.
docs/scaling.md holds the model against measured runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field

#: Stages that hold a model worker while they last; the others hold a core.
MODEL_STAGES = ("regions", "semantics")
#: Seconds that one frame takes of the driver, whatever it holds: see docs/scaling.md.
DRIVER_S = 0.006
#: Bytes a second between all workers and the storage: a 10 Gbit/s link.
STORAGE_BYTES_S = 1.25e9
#: The run's own files: run.json, frames.parquet, index.parquet.
RUN_OBJECTS = 3
#: A number of which there is none below zero, where it is read from a file.
Amount = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Costs:
    """What one frame costs, as measured.

    Attributes:
        seconds: {stage: mean seconds a frame}; ``write`` is a frame's share of its shard's.
        start_s: seconds until the first frame: models loaded, code compiled.
        read_bytes, frame_bytes: of a frame's source files, and of what is stored of it.
        shard_bytes, shard_objects: of a shard, whatever its number of frames: metadata; files and manifest.
        frames: that were measured.
        error: standard error of the seconds a frame, as a share of them.
        device: ``cuda`` or ``cpu``: where the models ran.
        cores_per_gpu: cores beside each GPU, where there is one.
        machine: where it was measured, for the reader.
    """

    seconds: Mapping[str, Amount]
    start_s: Amount
    read_bytes: Amount
    frame_bytes: Amount
    shard_bytes: Amount
    shard_objects: Annotated[int, Field(ge=0)]
    frames: Annotated[int, Field(ge=1)]
    error: Amount = 0.0
    device: str = "cpu"
    cores_per_gpu: Annotated[float, Field(gt=0)] = 8.0
    machine: str = ""

    @property
    def model_s(self) -> float:
        """Seconds a frame holds a model worker."""
        return sum(self.seconds.get(stage, 0.0) for stage in MODEL_STAGES)

    @property
    def core_s(self) -> float:
        """Seconds a frame holds a core besides."""
        return sum(self.seconds.values()) - self.model_s

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Machines:
    """What a run may use.

    Attributes:
        workers: model workers: one per GPU, or per core where there is no GPU.
        cores: for everything else; without GPUs they are the workers' own.
        storage_bytes_s: bytes a second to and from the storage, all workers together.
        driver_s: seconds of the driver for one frame; 0 for the sequential runner.
    """

    workers: int
    cores: float
    storage_bytes_s: float = STORAGE_BYTES_S
    driver_s: float = DRIVER_S


def limits(costs: Costs, machines: Machines) -> dict[str, float]:
    """Frames a second that each resource alone would allow: ``gpu``, ``cpu``, ``storage``, ``driver``."""
    if costs.device == "cuda":
        seconds = {"gpu": costs.model_s / machines.workers, "cpu": costs.core_s / machines.cores}
    else:
        seconds = {"cpu": (costs.model_s + costs.core_s) / machines.cores}
    seconds["storage"] = (costs.read_bytes + costs.frame_bytes) / machines.storage_bytes_s
    seconds["driver"] = machines.driver_s
    return {name: 1 / time if time > 0 else float("inf") for name, time in seconds.items()}


def wall_time(costs: Costs, machines: Machines, frames: int) -> tuple[float, str]:
    """Seconds that a run takes, and the resource that sets its rate.

    The start, then all frames at the rate of the slowest resource; but a worker does whole frames, so it is
    never less than the rounds that the workers need. What the first frame does before its model and the
    last one after it comes on top.
    """
    rates = limits(costs, machines)
    bound = min(rates, key=lambda name: rates[name])
    alone = costs.core_s if costs.device == "cuda" else 0.0  # beside the models, not on their cores
    round_s = costs.model_s + costs.core_s - alone
    rounds = -(-frames // machines.workers)
    return costs.start_s + alone + max(frames / rates[bound], rounds * round_s), bound


def estimate(
    costs: Costs, frames: int, gpus: int, *, gpus_per_worker: float = 1.0, price: float | None = None
) -> dict[str, Any]:
    """What so many frames take on so many GPUs (on so many cores, where the models ran on a CPU).

    Args:
        costs: of one frame.
        frames: to be labelled.
        gpus: that are paid for from start to end.
        gpus_per_worker: of the run's configuration. Workers that share a GPU share its time: below 1, the
            GPU is counted as one worker.
        price: of one GPU for one hour; None: no cost.

    Returns:
        ``gpus``; ``frames_per_s`` in the long run; ``bound``: what limits it; ``wall_s``; ``gpu_hours`` that
        are paid for; ``busy``: share of them in which a model computes; ``cost``.
    """
    workers, cores = gpus, float(gpus)
    if costs.device == "cuda":
        workers, cores = max(1, int(gpus / max(1.0, gpus_per_worker))), gpus * costs.cores_per_gpu
    machines = Machines(workers, cores)
    wall, bound = wall_time(costs, machines, frames) if frames else (0.0, "nothing")
    hours = gpus * wall / 3600
    return {
        "gpus": gpus,
        "frames_per_s": min(limits(costs, machines).values()),
        "bound": bound,
        "wall_s": wall,
        "gpu_hours": hours,
        "busy": frames * costs.model_s / (workers * wall) if wall else 0.0,
        "cost": None if price is None else hours * price,
    }


def stored(costs: Costs, frames: int, frames_per_shard: int) -> tuple[int, int]:
    """Bytes and objects that so many frames become."""
    shards = -(-frames // frames_per_shard)
    size = frames * costs.frame_bytes + shards * costs.shard_bytes
    return round(size), shards * costs.shard_objects + RUN_OBJECTS
