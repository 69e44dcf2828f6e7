"""Scores a run's labels against the data set's truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.core.records import UNLABELLED, PointLabels
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import load_panoptic, load_truth
from labelgen.metrics.confidence import ConfidenceScore
from labelgen.metrics.panoptic import MIN_POINTS, PanopticScore
from labelgen.metrics.segmentation import SegmentationScore

#: {name: least and most number of cameras that see a point}.
CAMERA_COUNTS = {"0": (0, 0), "1": (1, 1), "2+": (2, 255)}
#: Ends of the range bins, metres.
RANGES = (10, 20, 40)


@dataclass(frozen=True)
class Details:
    """What else is known of a frame's points, for scores by range and visibility.

    Attributes:
        xyz: (N, 3) float32, metres in the LiDAR frame, or None.
        in_image: (N,) bool, whether the point projects into any image, or None.
    """

    xyz: NDArray[np.float32] | None = None
    in_image: NDArray[np.bool_] | None = None


def evaluate_run(
    frames: Iterable[Frame],
    info: DatasetInfo,
    root: Path,
    labels_of: Callable[[str], PointLabels | None],
    taxonomy: Taxonomy,
    details_of: Callable[[str], Details] | None = None,
    novel: Collection[int] | None = None,
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
        details_of: more about the points of a labelled frame by its id, for the scores that need it.
        novel: classes that were not learned from labels; panoptic scores are then told for them, too.

    Returns:
        What `SegmentationScore.result` gives, and ``frames``, ``frames_without_labels``,
        ``frames_without_truth``; ``protocols``: see `SegmentationScore.protocols`; ``by_cameras`` {"0", "1",
        "2+"}: the same scores over the points that so many cameras see; ``by_range`` {"0-10 m", ...} and
        ``by_visibility`` {"seen", "hidden", "outside"}: likewise, empty where not known; ``confidence``: see
        `ConfidenceScore.result`; ``panoptic`` {"devkit", "semantickitti"}: see `PanopticScore.result`; None
        where truth or labels have no instances, unless ``novel`` asks for it. Frames without labels are in
        the totals, ``protocols`` and ``panoptic`` only.

    Raises:
        UserError: no frame has truth, or labels and truth do not fit the taxonomy; with ``novel``, no frame
            has true instances.
        FrameError: a truth file is missing, unreadable or of another length than the labels.
    """
    frames = list(frames)
    with_truth = [frame for frame in frames if frame.label_path is not None]
    if not with_truth or not info.categories:
        raise UserError(f"data set {info.dataset} {info.version} has no truth (label files) to compare with")
    table = taxonomy.train_id_table(info.categories)
    total = SegmentationScore(taxonomy.names)
    parts: dict[str, dict[str, SegmentationScore]] = {
        "by_cameras": {name: SegmentationScore(taxonomy.names) for name in CAMERA_COUNTS},
        "by_range": {},
        "by_visibility": {},
    }
    confidence = ConfidenceScore()
    things = [spec.thing for spec in taxonomy.classes]
    panoptic = {name: PanopticScore(taxonomy.names, things, least) for name, least in MIN_POINTS.items()}
    if novel is not None and not any(frame.panoptic_path for frame in with_truth):
        raise UserError(f"data set {info.dataset} {info.version} has no true instances to compare with")
    instances = without_labels = 0
    for frame in with_truth:
        labels = labels_of(frame.frame_id)
        truth = load_truth(root, frame, table, None if labels is None else len(labels))
        if labels is None:
            without_labels += 1
            nothing = np.full(len(truth), UNLABELLED, np.uint8)
            total.update(truth, nothing)
            if frame.panoptic_path is not None:
                true_objects = load_panoptic(root, frame, table, len(truth))
                for one in panoptic.values():
                    one.update(*true_objects, nothing, nothing)
            continue
        try:
            total.update(truth, labels.label)
            confidence.update(truth, labels.label, labels.confidence)
            details = Details() if details_of is None else details_of(frame.frame_id)
            for group, name, chosen in _parts(labels, details):
                score = parts[group].setdefault(name, SegmentationScore(taxonomy.names))
                score.update(truth[chosen], labels.label[chosen])
            if frame.panoptic_path is not None:
                instances += int(np.count_nonzero(labels.instance))
                true_objects = load_panoptic(root, frame, table, len(labels))
                for one in panoptic.values():
                    one.update(*true_objects, labels.label, labels.instance)
        except ValueError as error:
            raise UserError(f"frame {frame.frame_id}: {error} in taxonomy {taxonomy.name}") from error
    return {
        **total.result(),
        "protocols": total.protocols(),
        "frames": len(with_truth),
        "frames_without_labels": without_labels,
        "frames_without_truth": len(frames) - len(with_truth),
        **{
            group: {name: score.result() for name, score in scores.items()} for group, scores in parts.items()
        },
        "confidence": confidence.result(),
        "panoptic": {name: one.result(novel) for name, one in panoptic.items()}
        if instances or novel is not None
        else None,
    }


def _parts(labels: PointLabels, details: Details) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """(group, part, points of it) for every part of every group that is known."""
    out = [
        ("by_cameras", name, (labels.views >= least) & (labels.views <= most))
        for name, (least, most) in CAMERA_COUNTS.items()
    ]
    if details.xyz is not None:
        far = np.linalg.norm(details.xyz, axis=1)
        for low, high in zip((0, *RANGES), (*RANGES, np.inf), strict=True):
            name = f"{low}+ m" if np.isinf(high) else f"{low}-{high} m"
            out.append(("by_range", name, (far >= low) & (far < high)))
    if details.in_image is not None:
        seen = labels.views > 0
        out += [
            ("by_visibility", "seen", seen),
            ("by_visibility", "hidden", ~seen & details.in_image),
            ("by_visibility", "outside", ~seen & ~details.in_image),
        ]
    return out
