"""The loop that trains every method: precision, accumulation, averaged weights, schedule, resumption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelgen.core.errors import UserError
from labelgen.distill.batch import Batch
from labelgen.distill.config import OptimizerConfig, TrainConfig
from labelgen.distill.log import Log
from labelgen.distill.model import Model, parameter_groups
from labelgen.distill.state import read_state, save_state

#: Steps without a target, from the first one on, after which a training gives up.
MOST_EMPTY = 50
#: Batches from a given one on; the loader of a training that goes on.
BatchesFrom = Callable[[int], Iterable[Batch]]
Report = Callable[[int, dict[str, float] | None], None]
#: The state after an epoch is saved unless the last one is younger; of a few frames, epochs are single steps.
_LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        steps: of the optimiser, in all.
        per_epoch: of the optimiser, in one epoch.
    """

    steps: int
    per_epoch: int


def length_of(optimizer: OptimizerConfig, batches: int) -> Length:
    """Steps of a training whose epochs have so many batches."""
    per_epoch = max(1, batches // optimizer.accumulate)
    steps = per_epoch * optimizer.epochs
    return Length(steps if optimizer.max_steps is None else min(steps, optimizer.max_steps), per_epoch)


def rate_at(step: int, length: Length, optimizer: OptimizerConfig) -> float:
    """Learning rate of a step from 0: a linear warm-up, then a cosine (Loshchilov and Hutter 2017)."""
    warmup = min(round(optimizer.warmup * length.per_epoch), length.steps - 1)
    if step < warmup:
        return optimizer.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, length.steps - warmup)
    low = min(optimizer.min_rate, optimizer.learning_rate)
    return low + (optimizer.learning_rate - low) * (0.5 + 0.5 * math.cos(math.pi * share))


def fit(
    model: Model,
    batches_from: BatchesFrom,
    config: TrainConfig,
    length: Length,
    folder: Path,
    device: torch.device,
    *,
    digest: str,
    report: Report | None = None,
    wrap: Callable[[Model], nn.Module] | None = None,
    main: bool = True,
) -> dict[str, Tensor]:
    """Train a model; a training that was stopped goes on where its last saved state was.

    Args:
        model: trained in place.
        batches_from: gives the batches from a number on, ``accumulate`` of them for every step.
        config: of the training.
        length: of the training.
        folder: keeps ``state.pt``, ``log.csv`` and TensorBoard's events.
        device: of the model and the steps.
        digest: of all that determines the result; a state with another one is refused.
        report: called with each step, from 1, and the line of the log that it made, if one.
        wrap: makes the module that is called from the model (`DistributedDataParallel`).
        main: whether this process writes; one of several does.

    Returns:
        The weights of the result: averaged ones if ``ema`` is set.

    Raises:
        UserError: a loss or gradient is not finite (names step and frames); no batch holds anything to learn
            from; the folder is another training's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to(device)
    optimizer = _make_optimizer(model, config)
    averaged = Averaged(model, config.optimizer.ema)
    before = read_state(folder, digest)
    start = _resume(before, model, optimizer, averaged)
    called = model if wrap is None else wrap(model)
    log = Log(folder, config.runtime.log_every, start, before and before["log"]) if main else None
    accumulate, saved = config.optimizer.accumulate, time.monotonic()
    batches = iter(batches_from(start * accumulate)) if start < length.steps else iter(())
    called.train()
    targets = _Targets(found=start > 0)
    for step in range(start, length.steps):
        rate = rate_at(step, length, config.optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        values, seen = _step(called, batches, optimizer, config, device, step)
        averaged.update(model)
        done = step + 1
        targets.count(values, seen, last=done == length.steps)
        line = log.add(done, {**values, "rate": rate}, done == length.steps) if log else None
        if report:
            report(done, line)
        apart = _LEAST_SECONDS if done % length.per_epoch == 0 else math.inf
        due = time.monotonic() - saved > min(apart, config.runtime.save_minutes * 60)
        if log and (due or done == length.steps):
            state = {
                "digest": digest,
                "step": done,
                "model": model.state_dict(),
                "random": _random_state(device),
                "log": dict(log.sums),
            }
            save_state(folder, state | {"optimizer": optimizer.state_dict(), "averaged": averaged.weights})
            saved = time.monotonic()
    if log:
        log.close()
    model.eval()
    return averaged.weights or model.state_dict()


def _step(
    called: nn.Module,
    batches: Iterator[Batch],
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    device: torch.device,
    step: int,
) -> tuple[dict[str, float], list[str]]:
    """One step of the optimiser: losses (means over its batches), norm of the gradient; and its frames."""
    optimizer.zero_grad(set_to_none=True)
    accumulate = config.optimizer.accumulate
    sums: dict[str, float] = {}
    seen: list[str] = []
    for part in range(accumulate):
        batch = next(batches).to(device)
        seen += batch.frame_id
        if len(batch) < 2:  # frames without points: nothing to learn, and batch norm needs two rows
            continue
        wait = getattr(called, "no_sync", nullcontext) if accumulate - part > 1 else nullcontext
        with wait():
            with precision(device, config.runtime.precision):
                losses = called(batch)
            if not bool(torch.isfinite(losses["loss"])):
                raise _not_finite("loss", losses, step, batch.frame_id)
            (losses["loss"] / accumulate).backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / accumulate
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not parameters:
        return sums, seen
    norm = nn.utils.clip_grad_norm_(parameters, config.optimizer.clip or math.inf)
    if not bool(torch.isfinite(norm)):
        raise _not_finite("gradient", {}, step, tuple(seen))
    optimizer.step()
    return {**sums, "gradient": float(norm)}, seen


def precision(device: torch.device, wanted: str) -> Any:
    """The context in which the network computes: bfloat16 if asked for, or on a GPU that has it."""
    auto = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if wanted == "float32" or (wanted == "auto" and not auto):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


class _Targets:
    """Whether batches hold anything to learn from: without a target, a loss is connected to nothing."""

    def __init__(self, *, found: bool = False) -> None:
        self.steps, self.found = 0, found

    def count(self, values: dict[str, float], frames: Sequence[str], *, last: bool) -> None:
        """Take note of a step: its losses and gradient, and whether it is the last one.

        Raises:
            UserError: none of the steps so far had a target, and there were enough of them.
        """
        self.found = self.found or values.get("gradient", 0.0) > 0
        self.steps += 1
        if not self.found and (last or self.steps >= MOST_EMPTY):
            raise UserError(
                f"nothing to learn from in {self.steps} steps: no region, pair or label on any point of "
                f"their frames ({', '.join(frames[:3])}{' …' if frames[3:] else ''}); `labelgen inspect RUN` "
                "says why points have no label"
            )


class Averaged:
    """Exponential moving average of the weights; nothing if ``decay`` is 0.

    The decay rises with the steps, ``min(decay, (1 + t) / (10 + t))``, so that short trainings forget where
    they began. Running means of batch norms are averaged, too.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights: dict[str, Tensor] = {}
        if decay:
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items() if self.decay else ():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)


def _make_optimizer(model: Model, config: TrainConfig) -> torch.optim.Optimizer:
    groups = list(parameter_groups(model, config))
    chosen = config.optimizer
    if chosen.name == "sgd":
        return torch.optim.SGD(
            groups, lr=chosen.learning_rate, momentum=chosen.momentum, dampening=chosen.dampening
        )
    return torch.optim.AdamW(groups, lr=chosen.learning_rate)


def _resume(
    state: dict[str, Any] | None, model: Model, optimizer: torch.optim.Optimizer, averaged: Averaged
) -> int:
    """Put a state back; gives the number of steps that are done."""
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    device = next(model.parameters()).device
    averaged.weights = {name: value.to(device) for name, value in state["averaged"].items()}
    averaged.steps = state["step"]
    torch.set_rng_state(state["random"]["cpu"])
    if "cuda" in state["random"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["random"]["cuda"], device)
    return int(state["step"])


def _random_state(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _not_finite(what: str, losses: dict[str, Tensor], step: int, frames: tuple[str, ...]) -> UserError:
    values = ", ".join(f"{name} {float(value.detach()):g}" for name, value in losses.items())
    return UserError(
        f"step {step + 1}: the {what} is not finite{f' ({values})' if values else ''}, on frames "
        f"{', '.join(frames)}; look at those frames, lower optimizer.learning_rate or set optimizer.clip=1; "
        "the last saved state stays"
    )
