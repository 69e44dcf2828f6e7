"""Measures what a frame costs, by labelling a few, and keeps it beside the run until the run is made."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.engine.job import Job, commit
from labelgen.engine.planning import Plan
from labelgen.engine.task import FrameTask, run_steps
from labelgen.engine.throughput import Amount, Costs, estimate, stored
from labelgen.io.place import named_after, open_store, put_file
from labelgen.io.scratch import scratch
from labelgen.models.gpus import named_gpus
from labelgen.shards import create_run
from labelgen.shards.documents import plain_json
from labelgen.shards.manifest import list_manifests, read_manifest
from labelgen.shards.schema import MAX_FRAMES

#: Ending of the file beside a run's folder in which `keep` leaves a probed.
BESIDE = ".plan.json"


@dataclass(frozen=True)
class CostEstimate:
    """What a probe says of a run, and at which price.

    Attributes:
        fingerprint: of the run; labels of other settings cost something else.
        costs: of one frame.
        gpus_per_worker: of the run's configuration.
        price: of one GPU for one hour, or None.
    """

    fingerprint: str
    costs: Costs
    gpus_per_worker: Amount = 1.0
    price: Amount | None = None

    def estimate(self, frames: int, number: int) -> dict[str, Any]:
        """See `labelgen.engine.throughput.estimate`."""
        return estimate(self.costs, frames, number, gpus_per_worker=self.gpus_per_worker, price=self.price)


_ESTIMATE = TypeAdapter(CostEstimate)


def estimate_costs(
    plan: Plan, count: int, price: float | None = None, address: str | None = None
) -> CostEstimate:
    """Label some of the plan's frames, spread over it, in a folder that is thrown away.

    Args:
        plan: whose frames are to be done; if none is left, those that are done serve.
        count: of frames, at most 64; the first is done once more before, as a warm-up.
        price: of one GPU for one hour.
        address: of a Ray cluster, one of whose workers then does the probe; None: this process does.

    Raises:
        UserError: none of the frames can be labelled, or the cluster cannot be reached.
    """
    job = plan.job
    frames = spread(job.frames or plan.selected, min(count, MAX_FRAMES))
    job = replace(job, root=job.root.absolute(), frames=())
    if address is None:
        costs = measure(job, frames)
    else:
        from labelgen.engine.ray.cluster import on_worker

        share = 0.0 if job.config.runtime.device == "cpu" else job.config.runtime.gpus_per_worker
        costs = on_worker(measure, job, frames, address=address, gpus=share)
    return CostEstimate(job.fingerprint, costs, job.config.runtime.gpus_per_worker, price)


def spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """So many frames at equal distances: neighbours look alike, and a scene can be harder than another."""
    count = min(count, len(frames))
    return [frames[(2 * k + 1) * len(frames) // (2 * count)] for k in range(count)]


def measure(job: Job, frames: Sequence[Frame]) -> Costs:
    """Take frames through the steps one after another, as a worker would, and store them for a moment.

    Raises:
        UserError: none of them can be labelled; says why the first cannot.
    """
    begin = time.perf_counter()
    with scratch() as folder:
        job = replace(job, run=folder)
        create_run(
            folder,
            fingerprint=job.fingerprint,
            config=job.config.model_dump(mode="json"),
            taxonomy=job.taxonomy.to_dict(),
            models=[],
        )
        steps = job.steps()
        for step in steps:
            step.setup()
        run_steps(steps, FrameTask(frames[0]))  # warm-up
        start_s = time.perf_counter() - begin
        tasks = [run_steps(steps, FrameTask(frame)) for frame in frames]
        labelled = [task for task in tasks if task.failure is None]
        if not labelled:
            reason = next(task.failure.message for task in tasks if task.failure is not None)
            raise UserError(f"none of the {len(frames)} probed frames can be labelled: {reason}")
        begin = time.perf_counter()
        commit(job, labelled)
        write_s = (time.perf_counter() - begin) / len(labelled)
        store = open_store(folder)
        (key,) = list_manifests(store)
        manifest, manifest_bytes = read_manifest(store, key), len(store.read(key))
    read_bytes = [sum(_size(job.root / path) for path in task.hashes) for task in labelled]
    names = [step.name for step in steps]
    seconds = {name: statistics.fmean(task.seconds[name] for task in labelled) for name in names}
    totals = [sum(task.seconds.values()) for task in labelled]
    device, number = _device(job)
    cores = len(os.sched_getaffinity(0))
    metadata = sum(entry.size for entry in manifest.metadata.values())
    return Costs(
        seconds=seconds | {"write": write_s},
        start_s=start_s,
        read_bytes=statistics.fmean(read_bytes),
        frame_bytes=(manifest_bytes + sum(entry.size for entry in manifest.arrays.values())) / len(labelled),
        shard_bytes=metadata,
        shard_objects=len(list(manifest.files())) + 1,
        frames=len(labelled),
        error=_standard_error(totals),
        device=device,
        cores_per_gpu=cores / max(1, number),
        machine=f"{platform.node()}, {cores} cores, {number} GPUs",
    )


def summarise(probed: CostEstimate, plan: Plan, numbers: Sequence[int]) -> dict[str, Any]:
    """What ``labelgen plan --probe`` adds to the plan, as plain data.

    Returns:
        ``estimated_bytes``, ``estimated_objects`` of all selected frames; ``gpu_hours`` of the models' work
        on what is left, if it was measured on a GPU; ``price``; ``probe``: the `Costs`; ``estimates``: one
        `throughput.estimate` for each number of GPUs.
    """
    todo = len(plan.job.frames)
    size, objects = stored(probed.costs, len(plan.selected), plan.job.config.runtime.frames_per_shard)
    return {
        "estimated_bytes": size,
        "estimated_objects": objects,
        "gpu_hours": todo * probed.costs.model_s / 3600 if probed.costs.device == "cuda" else None,
        "price": probed.price,
        "probe": probed.costs.to_dict(),
        "estimates": [probed.estimate(todo, number) for number in numbers],
    }


def keep(probed: CostEstimate, run: Path | str) -> str:
    """Write the estimate beside the run's folder, where the run finds it; gives the file's path or address.

    Raises:
        UserError: that cannot be written.
    """
    place = named_after(run, BESIDE)
    try:
        put_file(place, (json.dumps(asdict(probed), indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot keep the plan in {place}: {error.strerror or error}") from error
    return place


def kept(run: Path | str, fingerprint: str) -> CostEstimate | None:
    """What `keep` wrote for a run with this fingerprint; None if there is none that can be read."""
    place = Path(named_after(run, BESIDE))
    try:
        probed = _ESTIMATE.validate_python(plain_json(open_store(place.parent).read(place.name, 1 << 20)))
    except (OSError, ValueError):
        return None
    return probed if probed.fingerprint == fingerprint else None


def expected_of(job: Job, frames: int, figures: Mapping[str, Any]) -> dict[str, Any]:
    """What `kept` foretells of so many frames on the machines that a call had; for the call's record.

    Args:
        job: of the run.
        frames: that the call was to do.
        figures: of the call; ``gpus`` and ``cores`` that it had.

    Returns:
        ``expected``: frames, bytes, objects, seconds a frame by stage, and what `throughput.estimate` gives.
        Nothing where there is no probed, or one for another kind of machine.
    """
    probed = kept(job.run, job.fingerprint)
    used = int(figures.get("gpus", 0))
    if probed is None or (probed.costs.device == "cuda") != (used > 0):
        return {}
    size, objects = stored(probed.costs, frames, job.config.runtime.frames_per_shard)
    content = {"frames": frames, "bytes": size, "objects": objects, "price": probed.price}
    numbers = probed.estimate(frames, used or int(figures.get("cores", 1)))
    return {"expected": content | {"seconds": dict(probed.costs.seconds)} | numbers}


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean, as a share of it; 0 for one value."""
    if len(values) < 2:
        return 0.0
    return statistics.stdev(values) / math.sqrt(len(values)) / statistics.fmean(values)


def _device(job: Job) -> tuple[str, int]:
    """Where the models run in this process, and how many GPUs the machine has, given to it or not."""
    import torch

    given = torch.cuda.device_count()
    device = "cuda" if given and job.config.runtime.device != "cpu" else "cpu"
    return device, max(given, len(named_gpus().names))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
