"""Trains on many GPUs or machines through Ray Train; every process runs the same task."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer, get_device, prepare_model

from labelgen.core.errors import LabelgenError, UserError
from labelgen.core.wording import one_line
from labelgen.distill.protocols import RESULTS, Task, run_task
from labelgen.distill.train import Place
from labelgen.engine.ray.connection import connected

#: How often a training goes on from its last saved state after a worker was lost.
RESTARTS = 3


def train_on_ray(task: Task, workers: int, address: str | None = None) -> dict[str, Any]:
    """Run a task on several processes; each takes its share of every batch.

    The task's folder and the run must be at the same place for all of them, such as a shared file system.

    Args:
        task: ``optimizer.batch_size`` counts per process.
        workers: processes; with ``runtime.device`` ``cuda``, or ``auto`` where the cluster has GPUs, each
            gets one and has to use it.
        address: of a running cluster; None starts Ray here.

    Returns:
        What `run_task` gives.

    Raises:
        UserError: the cluster has too few GPUs, or the training failed; says why in one line.
    """
    folder = task.folder.absolute()
    with connected(address):
        task, gpu = _on_gpus(task, workers)
        folder.mkdir(parents=True, exist_ok=True)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"task": task},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
            run_config=RunConfig(
                name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # what a worker raised, wrapped by Ray
            raise UserError(f"training on Ray failed: {_reason(error)}") from error
    result: dict[str, Any] = json.loads((folder / RESULTS).read_text())
    return result


def _reason(error: Exception) -> str:
    """What a worker found wrong, where it is the input's fault; else what Ray says."""
    raised: Iterable[Exception] = getattr(error, "worker_failures", {}).values()
    return next((str(one) for one in raised if isinstance(one, LabelgenError)), one_line(error, 300))


def _on_gpus(task: Task, workers: int) -> tuple[Task, bool]:
    """The task, which has to use a GPU if it gets one, and whether each of its workers does."""
    device = task.config.runtime.device
    there = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    gpu = device.startswith("cuda") or (device == "auto" and there > 0)
    if gpu and there < workers:
        raise UserError(
            f"{workers} workers on {device} need {workers} GPUs, the Ray cluster has {there:g}; "
            "add GPU nodes, use fewer --ray-workers, or --set runtime.device=cpu"
        )
    if gpu:
        runtime = task.config.runtime.model_copy(update={"device": "cuda"})
        task = replace(task, config=task.config.model_copy(update={"runtime": runtime}))
    return task, gpu


def _work(given: dict[str, Any]) -> None:
    """One process."""
    context, device = get_context(), get_device()
    if device.type == "cuda":  # a node's workers see all of its GPUs: "cuda" is to mean this one's
        torch.cuda.set_device(device)

    def wrap(model: Any) -> Any:
        # A batch without views leaves a head without a gradient.
        return prepare_model(model, parallel_strategy_kwargs={"find_unused_parameters": True})

    run_task(given["task"], place=Place(context.get_world_rank(), context.get_world_size(), wrap))
