"""The frames of a run that most need a look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError, UserError
from labelgen.core.records import UNLABELLED
from labelgen.inspection.evaluation import has_truth
from labelgen.metrics import SegmentationScore
from labelgen.runs import Run
from labelgen.shards import StoredRun

#: Truth of a frame by its id, (N,) uint8 class ids; None or an error where there is none.
TruthOf = Callable[[str], NDArray[np.uint8] | None]


def worst_of(run: Run, count: int) -> list[dict[str, Any]]:
    """The frames with the lowest mIoU, or where there is no truth the lowest confidence: see `worst_frames`.

    Raises:
        UserError: the run has no plan, or a shard is damaged.
    """
    known = has_truth(run) and run.root.is_dir()
    truth_of = (lambda frame_id: run.frame(frame_id).truth) if known else None
    return worst_frames(run, run.taxonomy.names, count, truth_of)


def worst_frames(
    run: StoredRun, names: list[str], count: int, truth_of: TruthOf | None = None
) -> list[dict[str, Any]]:
    """Rank frames by mIoU where there is truth, else by the mean confidence of all points (0 unlabelled).

    Args:
        run: open.
        names: of the classes.
        count: how many to give.
        truth_of: None ranks by confidence.

    Returns:
        Plain data, the worst first: ``frame_id``, ``scene_id``, ``score``, ``by`` ("miou" or "confidence"),
        ``coverage``. Frames whose truth cannot be read are ranked by confidence, after the others.

    Raises:
        UserError: a shard is damaged.
    """
    ranked = []
    for frame in run.stream():
        labels = frame.labels
        score: float | None = None
        if truth_of is not None:
            score = _miou(frame.frame_id, labels.label, names, truth_of)
        by = "confidence" if score is None else "miou"
        if score is None:
            score = float(labels.confidence.mean()) / 255 if len(labels) else 0.0
        coverage = float(np.mean(labels.label != UNLABELLED)) if len(labels) else 0.0
        ranked.append(
            {
                "frame_id": frame.frame_id,
                "scene_id": frame.scene_id,
                "score": round(score, 4),
                "by": by,
                "coverage": round(coverage, 4),
            }
        )
    without = truth_of is not None
    ranked.sort(key=lambda found: (without and found["by"] != "miou", found["score"], found["frame_id"]))
    return ranked[:count]


def _miou(frame_id: str, label: NDArray[np.uint8], names: list[str], truth_of: TruthOf) -> float | None:
    """Mean IoU over the classes of the frame's truth, unlabelled points as misses; None without truth."""
    try:
        truth = truth_of(frame_id)
    except (FrameError, UserError):
        return None
    if truth is None or not (truth != UNLABELLED).any():
        return None
    score = SegmentationScore(names)
    score.update(truth, label)
    result = score.result()
    value = result.get("miou_all", result["miou"])
    return None if value is None else float(value)
