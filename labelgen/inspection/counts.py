"""Counts over the points of many frames: classes, confidence, reasons. They add up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED, Reason
from labelgen.shards import FrameEntry


class PointCounts:
    """Points by label, confidence and reason; all that a summary needs, and no more than a manifest holds.

    Attributes:
        labels: (256,) int64, points by label.
        confidence_sums: (256,) int64, sum of the confidence (0..255) of each label's points.
        confidence: (256,) int64, labelled points by confidence.
        reasons: (256,) int64, points by reason.
    """

    def __init__(self) -> None:
        self.labels, self.confidence_sums, self.confidence, self.reasons = np.zeros((4, 256), np.int64)

    def add(self, label: NDArray[np.uint8], confidence: NDArray[np.uint8], reason: NDArray[np.uint8]) -> None:
        """Count points; three arrays (N,) uint8 as in `PointLabels`."""
        self.labels += np.bincount(label, minlength=256)
        sums = np.bincount(label, weights=confidence, minlength=256)
        self.confidence_sums += np.round(sums).astype(np.int64)
        self.confidence += np.bincount(confidence[label != UNLABELLED], minlength=256)
        self.reasons += np.bincount(reason, minlength=256)

    def add_counts(self, entry: FrameEntry) -> bool:
        """Count a frame by what its manifest says; False if that is of before such counts were kept."""
        if entry.reasons is None or entry.confidence_sums is None or entry.confidence_counts is None:
            return False
        for label, count in entry.histogram.items():
            self.labels[label] += count
        self.labels[UNLABELLED] += entry.num_points - entry.labelled
        for label, total in entry.confidence_sums.items():
            self.confidence_sums[label] += total
        self.confidence += np.array(entry.confidence_counts.split(), np.int64)
        for reason, count in entry.reasons.items():
            self.reasons[reason] += count
        return True

    @property
    def points(self) -> int:
        """All points."""
        return int(self.labels.sum())

    @property
    def labelled(self) -> int:
        """Points that have a class."""
        return int(self.labels[:UNLABELLED].sum())

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """The counts as plain data.

        Args:
            names: of the classes, by id; a label beyond them appears as ``class <id>``.

        Returns:
            points, labelled: numbers of points. coverage: labelled / points. labels: {class: points, share
            of the labelled points, mean_confidence 0..1}, every class of the taxonomy. reasons: {reason in
            lower case: points}, those that occur. confidence: nine deciles of the labelled points'
            confidence, 0..1 (the smallest value that at least 10 %, 20 % … do not exceed), or nothing
            where no point is labelled. confidence_histogram: labelled points by tenths of the
            confidence, ten numbers.
        """
        labelled = self.labelled
        by_class, level = self.labels, np.arange(256)
        labels = {}
        for k in range(UNLABELLED):
            if k < len(names) or by_class[k]:
                name = names[k] if k < len(names) else f"class {k}"
                count = int(by_class[k])
                mean = float(self.confidence_sums[k]) / count / 255 if count else None
                labels[name] = {
                    "points": count,
                    "share": count / labelled if labelled else 0.0,
                    "mean_confidence": mean,
                }
        by_level = self.confidence
        deciles = []
        if labelled:
            wanted = -(-labelled * np.arange(1, 10) // 10)
            deciles = [float(v) / 255 for v in np.searchsorted(np.cumsum(by_level), wanted)]
        tenths = np.bincount(np.minimum(level * 10 // 255, 9), weights=by_level, minlength=10)
        reasons = {}
        for k in np.flatnonzero(self.reasons).tolist():
            name = Reason(k).name.lower() if k in Reason._value2member_map_ else f"reason {k}"
            reasons[name] = int(self.reasons[k])
        return {
            "points": self.points,
            "labelled": labelled,
            "coverage": labelled / self.points if self.points else 0.0,
            "labels": labels,
            "reasons": reasons,
            "confidence": deciles,
            "confidence_histogram": [int(count) for count in tenths],
        }
