"""The main job: label what a plan has left, and index it. Also ``python -m pipelines.pseudolabels``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.datasets import merge_frames
from labelgen.labels import VoteSettings
from labelgen.labels.fuse import FusionSettings
from labelgen.semantics import make_encoder
from labelgen.shards import build_index, open_run, resume
from pipelines.derive import derive, plan_derivation
from pipelines.job import Committed, Job
from pipelines.passes import FuseScene
from pipelines.planning import Plan


@dataclass
class Outcome:
    """What one call of `execute` did.

    Attributes:
        labelled, partial, failed: frames of this call; partial ones are among the labelled.
        shards: that this call committed.
        seconds: wall time.
        failed_fraction: over all frames of the request, those of earlier calls included.
    """

    labelled: int = 0
    partial: int = 0
    failed: int = 0
    shards: int = 0
    seconds: float = 0.0
    failed_fraction: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)


def execute(plan: Plan, on_frame: Callable[[int], None], ray_address: str | None = None) -> Outcome:
    """Label what the plan has left and bring the index up to date.

    Args:
        plan: see `pipelines.planning.make_plan`.
        on_frame: called with the number of frames that have newly left the last stage.
        ray_address: of a running cluster; None runs locally.

    Raises:
        UserError: the run's folder belongs to other settings, or the cluster cannot be reached.
    """
    begin = time.perf_counter()
    outcome = Outcome()
    job = plan.job
    plan.open_run()
    resume(job.run)  # moves manifests aside that do not count, whose frames are in the plan
    # The whole plan, whatever slice of it is asked for: tasks of an array then write the same file.
    merge_frames(job.run / "frames.parquet", plan.planned, plan.info)
    if job.frames:
        job = replace(job, shard_attributes=text_attributes(job))
        for committed in _run(job, on_frame, ray_address):
            outcome.labelled += committed.frames
            outcome.partial += committed.partial
            outcome.failed += committed.failed
            outcome.shards += 1
    build_index(job.run)
    outcome.failed_fraction = (plan.failed + outcome.failed) / max(1, len(plan.selected))
    outcome.seconds = round(time.perf_counter() - begin, 2)
    return outcome


def fuse(plan: Plan, on_frame: Callable[[int], None]) -> Path:
    """Pass 2: fuse what the run holds over the frames of each scene, into a run beside it.

    Scenes that are fused already stay as they are; one that has gained frames since needs another output.

    Args:
        plan: whose run is labelled.
        on_frame: called with the number of frames of every scene that is done.

    Returns:
        The derived run's folder, ``<run>-fused``.

    Raises:
        UserError: the folder holds another run, or cannot be written.
    """
    config = plan.job.config
    fusion = FusionSettings(
        voxels=(config.fusion.voxel, 3 * config.fusion.voxel),
        ahead=config.fusion.ahead,
        decay_s=config.fusion.decay_s,
        min_margin=config.fusion.min_margin,
    )
    vote = VoteSettings(**config.labels.model_dump(exclude={"instances"}))
    output = plan.job.run.with_name(f"{plan.job.run.name}-fused")
    derivation = plan_derivation(
        open_run(plan.job.run), FuseScene(vote=vote, fusion=fusion), output, plan.job.root
    )
    derive(derivation, on_frame)
    return output


def text_attributes(job: Job) -> dict[str, Any]:
    """What lets anyone label the stored features anew: the classes' text embeddings and the encoder's id."""
    runtime = job.config.runtime
    encoder = make_encoder(job.config.semantics, runtime.device, runtime.threads)
    return {
        "class_names": job.taxonomy.names,
        "text_encoder": encoder.info.to_dict(),
        "text_embeddings": encoder.class_embedding(job.taxonomy),
    }


def _run(job: Job, on_frame: Callable[[int], None], ray_address: str | None) -> Iterator[Committed]:
    if job.config.runtime.runner == "sequential":
        from pipelines.sequential_runner import run_sequential

        return run_sequential(job, on_frame)
    from pipelines.ray_runner import run_ray

    return run_ray(job, on_frame, ray_address)


if __name__ == "__main__":
    from labelgen.cli.main import main

    main(["run"])
