"""Panoptic quality as nuscenes-devkit and semantic-kitti-api compute it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED
from labelgen.metrics.segmentation import SegmentationScore

#: {protocol: fewest points of a segment that counts as missed or as false}.
MIN_POINTS = {"devkit": 15, "semantickitti": 50}
#: Means over classes, of `PanopticScore.result`.
MEANS = ("pq", "sq", "rq", "pq_dagger", "miou")


class PanopticScore:
    """Gathers matches between true and predicted segments, frame by frame.

    A segment is the points of one frame with the same class and instance number (0 is a number). Predicted
    stuff is one segment per class, whatever its numbers, as in the devkits' files. Points whose truth is 255
    do not exist. Two segments of a class match if their IoU is above 1/2. For each class PQ = SQ RQ, SQ =
    mean IoU of the matches, RQ = TP / (TP + FP / 2 + FN / 2); segments of fewer than ``min_points`` points
    are neither FP nor FN (Kirillov et al., Panoptic Segmentation, 2019; the point limit is the devkits').
    Means are over all classes: one without any segment counts 0, as in both devkits.

    Args:
        names: of the C classes, in the order of their ids.
        things: (C,) True for countable classes.
        min_points: see `MIN_POINTS`.
    """

    def __init__(self, names: Sequence[str], things: Sequence[bool], min_points: int) -> None:
        if len(things) != len(names):
            raise ValueError(f"{len(things)} things for {len(names)} classes")
        self.names, self.things, self.min_points = list(names), list(things), min_points
        self._countable = np.zeros(256, np.bool_)
        self._countable[: len(names)] = things
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
        instance = np.where(self._countable[prediction], instance, 0)
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

    def result(self, novel: Collection[int] | None = None) -> dict[str, Any]:
        """The scores so far, ready for JSON.

        Args:
            novel: ids of the classes that were not learned from labels, where classes are so divided.

        Returns:
            ``pq``, ``sq``, ``rq``, ``miou``, ``pq_dagger``: means over all classes; ``pq_things``,
            ``pq_stuff``; ``groups`` {"all", "things", "stuff"; of divided classes "base things", "base
            stuff", "novel things", "novel stuff", too}: the five means over these classes, None where there
            are none; ``classes``, their number; ``present``, how many of them have a segment, true or
            predicted, that counts; ``pq_present``, mean over those. ``classes`` {name: {"pq", "sq", "rq",
            "iou", "tp", "fp", "fn"}}; ``min_points``.

            PQ-dagger takes the IoU of a stuff class for its PQ (Porzi et al., Seamless Scene Segmentation,
            2019). IoU is that of both devkits' panoptic evaluation: no label is a miss, an empty class has 0.
        """
        tp, fp, fn = self.counts.astype(np.float64)
        sq = self.overlap / np.maximum(tp, 1)
        rq = tp / np.maximum(tp + fp / 2 + fn / 2, 0.5)
        iou = self.points.protocols()["semantickitti"]["iou"]
        columns = {"pq": sq * rq, "sq": sq, "rq": rq, "iou": np.array([iou[name] for name in self.names])}
        counts = dict(zip(("tp", "fp", "fn"), self.counts, strict=True))
        groups = {name: self._means(columns, chosen) for name, chosen in self._groups(novel).items()}
        return {
            **{name: groups["all"][name] for name in MEANS},
            "pq_things": groups["things"]["pq"],
            "pq_stuff": groups["stuff"]["pq"],
            "min_points": self.min_points,
            "groups": groups,
            "classes": {
                name: {key: values[k].item() for key, values in (columns | counts).items()}
                for k, name in enumerate(self.names)
            },
        }

    def _groups(self, novel: Collection[int] | None) -> dict[str, NDArray[np.bool_]]:
        things = np.array(self.things, np.bool_)
        groups = {"all": np.ones_like(things), "things": things, "stuff": ~things}
        if novel is not None:
            new = np.isin(np.arange(len(things)), list(novel))
            groups |= {"base things": things & ~new, "base stuff": ~things & ~new}
            groups |= {"novel things": things & new, "novel stuff": ~things & new}
        return groups

    def _means(
        self, columns: dict[str, NDArray[np.float64]], chosen: NDArray[np.bool_]
    ) -> dict[str, float | int | None]:
        dagger = np.where(self.things, columns["pq"], columns["iou"])
        present = chosen & (self.counts > 0).any(axis=0)
        values = (columns["pq"], columns["sq"], columns["rq"], dagger, columns["iou"])
        return {
            **{name: _mean(column[chosen]) for name, column in zip(MEANS, values, strict=True)},
            "classes": int(chosen.sum()),
            "present": int(present.sum()),
            "pq_present": _mean(columns["pq"][present]),
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
