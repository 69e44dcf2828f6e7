"""How far confidence can be trusted: accuracy by decile, expected calibration error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED

BINS = 10


class ConfidenceScore:
    """Gathers how many labels of each confidence are right.

    Attributes:
        counts: (256,) int64, labels with known truth by stored confidence.
        right: (256,) int64, those of them that are right.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(256, np.int64)
        self.right = np.zeros(256, np.int64)

    def update(
        self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8], confidence: NDArray[np.uint8]
    ) -> None:
        """Add the points of one frame: (N,) uint8 each; 255 in truth or prediction is passed over."""
        known = (truth != UNLABELLED) & (prediction != UNLABELLED)
        self.counts += np.bincount(confidence[known], minlength=256)
        self.right += np.bincount(confidence[known & (truth == prediction)], minlength=256)

    def merge(self, other: ConfidenceScore) -> None:
        """Add what another score has gathered."""
        self.counts += other.counts
        self.right += other.right

    def result(self) -> dict[str, Any]:
        """The scores so far, ready for JSON; None where there is nothing to divide by.

        Returns:
            ``ece``: expected calibration error over ten equally wide bins, sum of share x |accuracy - mean
            confidence| (Guo et al., On Calibration of Modern Neural Networks, 2017). ``deciles``: accuracy of
            each tenth of the labels, the least confident first (labels of equal confidence are spread evenly
            over the tenths they fall into). ``rises``: whether that never falls. ``accuracy``, ``labels``.
            ``counts``, ``right``: 256 numbers each, by stored confidence.
        """
        total = int(self.counts.sum())
        levels = {"counts": self.counts.tolist(), "right": self.right.tolist()}
        if not total:
            nothing = {"ece": None, "deciles": [None] * BINS, "rises": None, "accuracy": None, "labels": 0}
            return nothing | levels
        level = np.arange(256) / 255
        bins = np.minimum((level * BINS).astype(np.int64), BINS - 1)
        claimed = np.bincount(bins, self.counts * level, minlength=BINS)
        right = np.bincount(bins, self.right, minlength=BINS)
        deciles = self._deciles(total)
        return {
            "ece": float(np.abs(right - claimed).sum() / total),
            "deciles": deciles.tolist(),
            "rises": bool((np.diff(deciles) >= -1e-9).all()),
            "accuracy": float(self.right.sum() / total),
            "labels": total,
            **levels,
        }

    def _deciles(self, total: int) -> NDArray[np.float64]:
        ends = np.concatenate([[0], np.cumsum(self.counts)])
        right = np.concatenate([[0], np.cumsum(self.right)])
        at = np.interp(np.arange(BINS + 1) / BINS * total, ends[_rising(ends)], right[_rising(ends)])
        return np.diff(at) * BINS / total


def _rising(ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Steps of a cumulative sum at which it grows, and its start."""
    return np.concatenate([[True], np.diff(ends) > 0])
