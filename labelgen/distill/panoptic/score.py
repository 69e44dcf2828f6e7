"""Panoptic quality of a network's segments, and of a run's own, on frames with truth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from labelgen.core.records import PointLabels
from labelgen.distill.classes import ClassSplit
from labelgen.metrics.panoptic import MIN_POINTS, PanopticScore
from labelgen.runs import Run


def score_panoptic(
    labels: Iterable[tuple[str, PointLabels]], run: Run, classes: ClassSplit
) -> dict[str, Any]:
    """Score labels of all raw points against the panoptic truth.

    Args:
        labels: of frames by their ids.
        run: with the truth.
        classes: base and novel ones, which are also scored apart.

    Returns:
        What `SegmentationScore.result` gives, ``protocols``, and ``panoptic``, see `PanopticScore.result`, by
        the rules of the data set.
    """
    rules = "semantickitti" if run.dataset.dataset == "semantickitti" else "devkit"
    things = [spec.thing for spec in run.taxonomy.classes]
    found = PanopticScore(run.taxonomy.names, things, MIN_POINTS[rules])
    for frame_id, ours in labels:
        found.update(*run.frame(frame_id).objects, ours.label, ours.instance)
    points = found.points
    return points.result() | {"protocols": points.protocols(), "panoptic": found.result(classes.novel)}
