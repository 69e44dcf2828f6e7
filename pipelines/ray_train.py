"""Trains on many GPUs or machines through Ray Train; every process runs the same task."""

from __future__ import annotations

import json
from typing import Any

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer, get_device, prepare_model

from labelgen.distill.protocols import RESULTS, Task, run_task
from labelgen.distill.train import Place
from labelgen.errors import UserError
from labelgen.wording import one_line
from pipelines.connection import connect

#: How often a training goes on from its last saved state after a worker was lost.
RESTARTS = 3


def train_on_ray(task: Task, workers: int, gpu: bool, address: str | None = None) -> dict[str, Any]:
    """Run a task on several processes; each takes its share of every batch.

    The task's folder and the run must be at the same place for all of them, such as a shared file system.

    Args:
        task: ``optimizer.batch_size`` counts per process.
        workers: processes.
        gpu: whether each has a GPU.
        address: of a running cluster; None starts Ray here.

    Returns:
        What `run_task` gives.

    Raises:
        UserError: the training failed; says why in one line.
    """
    if not ray.is_initialized():
        connect(address)
    folder = task.folder.absolute()
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
        lines = [line.strip() for line in str(error).splitlines() if "UserError" in line]
        reason = lines[-1] if lines else one_line(error, 300)
        raise UserError(f"training on Ray failed: {reason}") from error
    finally:
        if address is None:
            ray.shutdown()
    result: dict[str, Any] = json.loads((folder / RESULTS).read_text())
    return result


def _work(given: dict[str, Any]) -> None:
    """One process."""
    context, device = get_context(), get_device()
    if device.type == "cuda":  # a node's workers see all of its GPUs: "cuda" is to mean this one's
        torch.cuda.set_device(device)

    def wrap(model: Any) -> Any:
        # A batch without views leaves a head without a gradient.
        return prepare_model(model, parallel_strategy_kwargs={"find_unused_parameters": True})

    run_task(given["task"], place=Place(context.get_world_rank(), context.get_world_size(), wrap))
