"""The loop that trains a small model: a budget of minutes, resumption after a kill, metrics on disk."""

from __future__ import annotations

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from labelgen.models.checkpoints import load_plain

#: Seconds between lines of ``metrics.jsonl`` and between saved states.
LOG_EVERY, SAVE_EVERY = 15.0, 60.0

Report = Callable[[dict[str, float]], None]


def train(
    model: nn.Module,
    loss_of_step: Callable[[int], dict[str, Tensor]],
    folder: Path,
    *,
    minutes: float,
    learning_rate: float,
    weight_decay: float = 0.05,
    warmup_steps: int = 50,
    report: Report | None = None,
) -> int:
    """Train for some minutes; a run that was stopped goes on where its last saved state was.

    AdamW (Loshchilov & Hutter 2019); the rate rises over ``warmup_steps`` and falls as a cosine over the
    budget; gradients are cut to norm 1.

    Args:
        model: trained in place.
        loss_of_step: {name: loss}; the entry ``loss`` is minimised, the others are logged. What it draws
            at random must depend on the step alone.
        folder: keeps ``state.pt`` and ``metrics.jsonl``.
        minutes: budget of training time, all parts of an interrupted run together.
        learning_rate: the highest.
        weight_decay: of matrices; vectors are not decayed.
        warmup_steps: until the highest rate.
        report: called with each line of metrics.

    Returns:
        Number of steps taken in all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
    )
    step, spent = 0, 0.0
    state_path = folder / "state.pt"
    if state_path.is_file():
        state = load_plain(state_path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]
    budget = minutes * 60
    sums: dict[str, list[float]] = defaultdict(list)
    logged = saved = now = time.monotonic()
    model.train()
    while spent < budget:
        share = spent / budget
        rate = learning_rate * min(1.0, (step + 1) / warmup_steps) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        for name, value in losses.items():
            sums[name].append(float(value.detach()))
        before, now = now, time.monotonic()
        spent += now - before
        if now - logged >= LOG_EVERY or spent >= budget:
            line = {"step": step, "minutes": round(spent / 60, 2), "rate": rate}
            line |= {name: round(sum(values) / len(values), 4) for name, values in sums.items()}
            with (folder / "metrics.jsonl").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
            if report:
                report(line)
            sums.clear()
            logged = now
        if now - saved >= SAVE_EVERY or spent >= budget:
            _save(state_path, model, optimizer, step, spent)
            saved = now
    model.eval()
    return step


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, spent: float) -> None:
    """Write the state under another name first, so that a kill leaves the last one whole."""
    part = path.with_suffix(".part")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": spent}
    torch.save(state, part)
    os.replace(part, path)
