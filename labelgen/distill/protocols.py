"""The field's protocols: pre-training, annotation-free training, linear probe, fine-tuning."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.distill.config import TrainConfig
from labelgen.distill.log import read_log
from labelgen.distill.loop import Report
from labelgen.distill.panoptic.score import score_panoptic
from labelgen.distill.predict import Predictor, score, score_labels
from labelgen.distill.registry import METHODS
from labelgen.distill.splits import Split, choose_fraction
from labelgen.distill.train import Place, Start, train
from labelgen.runs import Run

RESULTS = "results.json"


@dataclass(frozen=True)
class Task:
    """One training and how it is scored.

    Attributes:
        run: to learn from.
        config: of the training; its method says which protocol.
        split: frames to learn from and to score.
        folder: of the training.
        start: weights to start from.
        fraction: share of the true labels, per cent; of fine-tuning and probing.
        scored: run of the scored frames, where that is another run.
    """

    run: Run
    config: TrainConfig
    split: Split
    folder: Path
    start: Start = field(default_factory=Start)
    fraction: int = 100
    scored: Run | None = None

    @property
    def truth(self) -> bool:
        """Whether true labels are learned from."""
        learned = METHODS[self.config.method].labels
        return learned == "truth" and self.config.settings.get("labels") != "pseudo"

    @property
    def frames(self) -> Sequence[str]:
        """To learn from."""
        if not self.truth:
            return self.split.train
        return choose_fraction(self.run, self.split.train, self.fraction)


def run_task(task: Task, report: Report | None = None, place: Place | None = None) -> dict[str, Any]:
    """Train, score, and write ``results.json``.

    Args:
        task: what is done.
        report: see `labelgen.distill.loop.fit`.
        place: of this process among several; only the first scores.

    Returns:
        What the file holds: ``method``, its ``settings``, ``backbone``, ``checkpoint``, ``start``, ``split``,
        ``fraction``, ``frames`` (learned from), ``steps``, ``loss`` (of the last line of the log),
        ``seconds`` (of this call) and ``scores`` of the held-out frames, see `scores_of`; None where there
        is no truth.

    Raises:
        UserError: as `train`; a probe without a checkpoint.
    """
    begin = time.monotonic()
    if METHODS[task.config.method].frozen and task.start.checkpoint is None:
        what = f"a {task.config.method} measures a checkpoint"
        raise UserError(f"{what}: name one with --from (of labelgen train pretrain)")
    predictor = train(
        task.run, task.config, task.frames, task.folder,
        start=task.start, truth=task.truth, report=report, place=place,
    )  # fmt: skip
    if place is not None and place.rank:
        return {}
    log = read_log(task.folder)
    result = {
        "method": task.config.method,
        "settings": task.config.settings,
        "backbone": task.config.backbone,
        "checkpoint": str(task.folder),
        "start": None if task.start.checkpoint is None else str(task.start.checkpoint),
        "split": task.split.name,
        "fraction": task.fraction if task.truth else None,
        "frames": len(task.frames),
        "steps": int(log[-1]["step"]) if log else 0,
        "loss": float(log[-1]["loss"]) if log and log[-1].get("loss") else None,
        "scores": scores_of(task, predictor),
        "seconds": round(time.monotonic() - begin, 1),
    }
    (task.folder / RESULTS).write_text(json.dumps(result, indent=1) + "\n")
    return result


def scores_of(task: Task, predictor: Predictor) -> dict[str, Any] | None:
    """Score a network on the held-out frames, on all raw points of the whole cloud.

    Returns:
        ``network``: what `SegmentationScore.result` gives, and ``protocols``; ``labels``: the same of the
        run's own labels there, on the same points; ``frames``. Of a method that finds segments what
        `score_panoptic` gives. None without truth, or where the method gives no class scores.
    """
    run = task.scored or task.run
    if not run.dataset.categories or not predictor.gives_classes:
        return None
    frames = [f for f in task.split.val if run.planned(f).label_path is not None]
    if not frames:
        return None
    method = predictor.model.method
    if method.finds_segments:
        if any(run.planned(f).panoptic_path is None for f in frames):
            return None
        classes = method.classes
        assert classes is not None
        return {
            "frames": len(frames),
            "network": score_panoptic(
                predictor.labels(run, frames, task.config.runtime.workers), run, classes
            ),
            "labels": score_panoptic(((f, run.frame(f).labels) for f in frames), run, classes),
        }
    network, labels = (
        score(predictor, run, frames, task.config.runtime.workers),
        score_labels(run, frames),
    )
    return {
        "frames": len(frames),
        "network": network.result() | {"protocols": network.protocols()},
        "labels": labels.result() | {"protocols": labels.protocols()},
    }
