"""Panoptic quality as nuscenes-devkit and semantic-kitti-api compute it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.metrics.segmentation import SegmentationScore
from labelgen.records import UNLABELLED

#: {protocol: fewest points of a segment that counts as missed or as false}.
MIN_POINTS = {"devkit": 15, "semantickitti": 50}


class PanopticScore:
    """Gathers matches between true and predicted segments, frame by frame.

    A segment is the points of one frame with the same class and instance number (0 is a number, so that
    stuff is one segment). Points whose truth is 255 do not exist. Two segments of a class match if their IoU
    is above 1/2. For each class PQ = SQ RQ, SQ = mean IoU of the matches, RQ = TP / (TP + FP / 2 + FN / 2);
    segments of fewer than ``min_points`` points are neither FP nor FN (Kirillov et al., Panoptic
    Segmentation, 2019; the point limit is the devkits'). Means are over all classes: one without any segment
    counts 0, as in both devkits.

    Args:
        names: of the C classes, in the order of their ids.
        things: (C,) True for countable classes.
        min_points: see `MIN_POINTS`.
    """

    def __init__(self, names: Sequence[str], things: Sequence[bool], min_points: int) -> None:
        if len(things) != len(names):
            raise ValueError(f"{len(things)} things for {len(names)} classes")
        self.names, self.things, self.min_points = list(names), list(things), min_points
        self.counts = np.zeros((3, len(names)), np.int64)  # TP, FP, FN
        self.overlap = np.zeros(len(names))  # sum of the matches' IoU
        self.points = SegmentationScore(names)

    def update(
        self,
        truth: NDArray[np.uint8],
        truth_instance: NDArray[np.integer[Any]],
        prediction: NDArray[np.uint8],
        instance: NDArray[np.integer[Any]],
    ) -> None:
        """Add the points of one frame.

        Args:
            truth: (N,) uint8 class ids, 255 for points to ignore.
            truth_instance: (N,) whole numbers from 0.
            prediction: (N,) uint8 class ids, 255 for unlabelled.
            instance: (N,) whole numbers from 0.

        Raises:
            ValueError: unequal lengths, another dtype, or an id that is no class.
        """
        self.points.update(truth, prediction)
        if truth_instance.shape != truth.shape or instance.shape != truth.shape:
            raise ValueError("classes and instances differ in length")
        known = truth != UNLABELLED
        true_segment, true_class, true_size = _segments(truth[known], truth_instance[known])
        our_segment, our_class, our_size = _segments(prediction[known], instance[known])
        pair, shared = np.unique(true_segment * len(our_size) + our_segment, return_counts=True)
        t, p = np.divmod(pair, max(1, len(our_size)))
        iou = shared / (true_size[t] + our_size[p] - shared)
        match = (iou > 0.5) & (true_class[t] == our_class[p])
        C = len(self.names)
        self.counts[0] += np.bincount(true_class[t[match]], minlength=C)
        self.overlap += np.bincount(true_class[t[match]], iou[match], minlength=C)
        for row, kinds, size, matched in (
            (1, our_class, our_size, p[match]),
            (2, true_class, true_size, t[match]),
        ):
            alone = np.ones(len(size), np.bool_)
            alone[matched] = False
            alone &= (size >= self.min_points) & (kinds != UNLABELLED)
            self.counts[row] += np.bincount(kinds[alone], minlength=C)

    def merge(self, other: PanopticScore) -> None:
        """Add what another score over the same classes has gathered."""
        self.points.merge(other.points)
        self.counts += other.counts
        self.overlap += other.overlap

    def result(self) -> dict[str, Any]:
        """The scores so far, ready for JSON.

        Returns:
            ``pq``, ``sq``, ``rq``: means over all classes; ``pq_things``, ``pq_stuff``; ``pq_dagger``: mean
            of the things' PQ and the stuff's IoU (no label is a miss, empty classes count 0); ``classes``
            {name: {"pq", "sq", "rq", "tp", "fp", "fn"}}; ``min_points``.
        """
        tp, fp, fn = self.counts.astype(np.float64)
        sq = self.overlap / np.maximum(tp, 1)
        rq = tp / np.maximum(tp + fp / 2 + fn / 2, 0.5)
        pq = sq * rq
        things = np.array(self.things, np.bool_)
        iou = self.points.protocols()["semantickitti"]["iou"]
        dagger = np.where(things, pq, [iou[name] for name in self.names])
        columns = {"pq": pq, "sq": sq, "rq": rq}
        counts = dict(zip(("tp", "fp", "fn"), self.counts, strict=True))
        return {
            **{name: _mean(values) for name, values in columns.items()},
            "pq_things": _mean(pq[things]),
            "pq_stuff": _mean(pq[~things]),
            "pq_dagger": _mean(dagger),
            "min_points": self.min_points,
            "classes": {
                name: {key: values[k].item() for key, values in (columns | counts).items()}
                for k, name in enumerate(self.names)
            },
        }


def _segments(
    classes: NDArray[np.uint8], instance: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(n,) segment of each point; (S,) class and size of each segment."""
    key = classes.astype(np.int64) << 48 | instance.astype(np.int64)
    found, segment, size = np.unique(key, return_inverse=True, return_counts=True)
    return segment.reshape(-1), found >> 48, size


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
