"""Scores a run's labels against the data set's truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.datasets.loading import load_truth
from labelgen.datasets.manifest import DatasetInfo
from labelgen.errors import UserError
from labelgen.frame import Frame
from labelgen.metrics.segmentation import SegmentationScore
from labelgen.records import UNLABELLED, PointLabels
from labelgen.taxonomy import Taxonomy

#: {name: least and most number of cameras that see a point}.
CAMERA_COUNTS = {"0": (0, 0), "1": (1, 1), "2+": (2, 255)}


def evaluate_run(
    frames: Iterable[Frame],
    info: DatasetInfo,
    root: Path,
    labels_of: Callable[[str], PointLabels | None],
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """Score the labels of all frames that have truth, in one confusion matrix over all their points.

    A frame without labels (it failed) counts with all its points as unlabelled, so that a run cannot gain
    by failing.

    Args:
        frames: those that were to be labelled.
        info: as read with them; its categories translate the label files.
        root: the data root.
        labels_of: the labels of a frame by its id, or None where it has none.
        taxonomy: that the labels were made with.

    Returns:
        What `SegmentationScore.result` gives, and ``frames``, ``frames_without_labels``,
        ``frames_without_truth``; ``by_cameras`` {"0", "1", "2+"}: the same scores over the points that so
        many cameras see (frames without labels are not in it).

    Raises:
        UserError: no frame has truth, or labels and truth do not fit the taxonomy.
        FrameError: a truth file is missing, unreadable or of another length than the labels.
    """
    frames = list(frames)
    with_truth = [frame for frame in frames if frame.label_path is not None]
    if not with_truth or not info.categories:
        raise UserError(f"data set {info.dataset} {info.version} has no truth (label files) to compare with")
    table = taxonomy.train_id_table(info.categories)
    total = SegmentationScore(taxonomy.names)
    by_cameras = {name: SegmentationScore(taxonomy.names) for name in CAMERA_COUNTS}
    without_labels = 0
    for frame in with_truth:
        labels = labels_of(frame.frame_id)
        truth = load_truth(root, frame, table, None if labels is None else len(labels))
        if labels is None:
            without_labels += 1
            total.update(truth, np.full(len(truth), UNLABELLED, np.uint8))
            continue
        try:
            total.update(truth, labels.label)
            for name, (least, most) in CAMERA_COUNTS.items():
                chosen = (labels.views >= least) & (labels.views <= most)
                by_cameras[name].update(truth[chosen], labels.label[chosen])
        except ValueError as error:
            raise UserError(f"frame {frame.frame_id}: {error} in taxonomy {taxonomy.name}") from error
    return {
        **total.result(),
        "frames": len(with_truth),
        "frames_without_labels": without_labels,
        "frames_without_truth": len(frames) - len(with_truth),
        "by_cameras": {name: score.result() for name, score in by_cameras.items()},
    }
