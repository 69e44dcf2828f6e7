"""Scores of a run and of those that it is derived from, against the truth of its data set."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelgen.core.errors import FrameError, UserError
from labelgen.core.frame import Frame
from labelgen.core.records import PointLabels
from labelgen.datasets.roots import truth
from labelgen.distill.classes import load_class_split
from labelgen.metrics import Details, evaluate_run
from labelgen.runs import Run


def has_truth(run: Run) -> bool:
    """Whether the data set names truth for any of the run's frames."""
    return bool(run.dataset.categories) and any(frame.label_path is not None for frame in _outcomes(run))


def evaluate(run: Run, classes: str | None = None) -> dict[str, Any]:
    """Score all frames that were labelled or failed; see `labelgen.metrics.evaluate_run`.

    Args:
        run: of `labelgen.open_run`.
        classes: name or file of a split into base and novel classes, see
            `labelgen.distill.classes.load_class_split`; the result then has ``split`` {"name", "base",
            "novel"}, too, with names of classes.

    Raises:
        UserError: there is no truth, it is not below the data root, or it does not fit.
    """
    if has_truth(run):
        run.need(truth)
    split = None if classes is None else load_class_split(classes, run.taxonomy)

    def labels_of(frame_id: str) -> PointLabels | None:
        return run.frame(frame_id).labels if frame_id in run else None

    def details_of(frame_id: str) -> Details:
        frame = run.frame(frame_id)
        in_image = np.zeros(frame.num_points, np.bool_)
        in_image[frame.array("views/point")] = True
        try:
            return Details(frame.xyz, in_image)
        except (FrameError, UserError):  # scores by range are left out
            return Details(None, in_image)

    try:
        result = evaluate_run(
            _outcomes(run), run.dataset, run.root, labels_of, run.taxonomy, details_of,
            None if split is None else split.novel,
        )  # fmt: skip
    except FrameError as error:
        raise UserError(f"{error} (searched below {run.root}; --dataroot sets another)") from error
    if split is not None:
        names = run.taxonomy.names
        parts = {"base": [names[k] for k in split.base], "novel": [names[k] for k in split.novel]}
        result["split"] = {"name": split.name, **parts}
    return result


def evaluate_steps(run: Run, classes: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Name and scores of the run that this one comes from, step by step, and of this one at the end.

    Args:
        run: of `labelgen.open_run`.
        classes: as for `evaluate`.

    Raises:
        UserError: as `evaluate`.
    """
    before = [] if run.parent is None else evaluate_steps(run.parent, classes)
    return [*before, (run.name, evaluate(run, classes))]


def _outcomes(run: Run) -> list[Frame]:
    """Frames that the run is done with."""
    return [f for f in run.plan.values() if f.frame_id in run or f.frame_id in run.failures]
