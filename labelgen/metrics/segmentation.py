"""Semantic segmentation scores over all points of all frames, with coverage beside every score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED

#: {protocol: how it differs from the others}; see `SegmentationScore.protocols`.
PROTOCOLS = {
    "devkit": "nuscenes-devkit: every point must have a label; classes without points are left out",
    "semantickitti": "semantic-kitti-api: no label is a miss; classes without points count 0",
    "slidr": "SLidR, UOV: no label is a miss; classes without points count 1",
}


class SegmentationScore:
    """Gathers one confusion matrix and tells IoU, its mean and the coverage.

    With TP, FP and FN counted over every point whose truth is a class (truth 255 is ignored, whatever is
    predicted there), IoU = TP / (TP + FP + FN). A class whose union is empty, in neither truth nor
    prediction, has no IoU and is left out of the mean; a class that is only predicted has IoU 0 and counts.

    Two scores, as labels may have gaps: ``iou`` over the points that have a label, to be read beside
    ``coverage``; ``iou_all`` over all points, where a point without a label is a miss (FN) of its class. On
    predictions without gaps both equal nuscenes-devkit's lidarseg evaluation, which refuses gaps.

    Attributes:
        names: of the C classes, in the order of their ids.
        confusion: (C, C + 1) int64 counts; rows are truth, columns are predictions, the last one
            "unlabelled".
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.confusion = np.zeros((len(names), len(names) + 1), np.int64)

    def update(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Add the points of one frame.

        Args:
            truth: (N,) uint8 class ids, 255 for points to ignore.
            prediction: (N,) uint8 class ids, 255 for unlabelled.

        Raises:
            ValueError: unequal lengths, another dtype, or an id that is no class.
        """
        classes = len(self.names)
        for what, ids in (("truth", truth), ("prediction", prediction)):
            if ids.dtype != np.uint8 or ids.shape != (len(truth),):
                raise ValueError(f"{what} is {ids.dtype} {ids.shape}, expected uint8 ({len(truth)},)")
            wrong = ids[(ids >= classes) & (ids != UNLABELLED)]
            if len(wrong):
                raise ValueError(f"{what} holds class {wrong[0]}, but there are {classes} classes")
        known = truth != UNLABELLED
        cells = truth[known].astype(np.int64) * (classes + 1) + np.minimum(prediction[known], classes)
        self.confusion += np.bincount(cells, minlength=self.confusion.size).reshape(self.confusion.shape)

    def merge(self, other: SegmentationScore) -> None:
        """Add the points that another score over the same classes has gathered."""
        if other.names != self.names:
            raise ValueError("scores over different classes cannot be merged")
        self.confusion += other.confusion

    def result(self) -> dict[str, Any]:
        """The scores so far, ready for JSON; None where there is nothing to divide by.

        Returns:
            ``miou``, ``iou`` {class: value}: over the labelled points. ``coverage``: their share.
            ``miou_all``, ``iou_all``: over all points. ``points``, ``labelled``: the counts behind it.
            ``truth_points`` {class: count}.
        """
        labelled = self.confusion[:, :-1]
        points, covered = int(self.confusion.sum()), int(labelled.sum())
        iou, iou_all = self._iou(labelled), self._iou(self.confusion)
        return {
            "miou": _mean(iou),
            "coverage": covered / points if points else None,
            "iou": iou,
            "miou_all": _mean(iou_all),
            "iou_all": iou_all,
            "points": points,
            "labelled": covered,
            "truth_points": dict(zip(self.names, self.confusion.sum(axis=1).tolist(), strict=True)),
        }

    def protocols(self) -> dict[str, dict[str, Any]]:
        """The mean IoU as three tools of the field compute it, on the points gathered so far.

        They differ in what a point without a label and a class without points count (`PROTOCOLS`). Truth 255
        is dropped by all three.

        Returns:
            {"devkit", "semantickitti", "slidr": {"miou", "iou" {class: value}, "how"}}; slidr also has
            ``fwiou``, sum TP / (2 points - sum TP). Where the devkit refuses (there are gaps in the labels)
            its values are None.
        """
        gaps = bool(self.confusion[:, -1].any())
        strict = dict.fromkeys(self.names) if gaps else self._iou(self.confusion)
        counted = self._iou(self.confusion)
        out: dict[str, dict[str, Any]] = {}
        for name, iou in (
            ("devkit", strict),
            ("semantickitti", _filled(counted, 0.0)),
            ("slidr", _filled(counted, 1.0)),
        ):
            out[name] = {"miou": _mean(iou), "iou": iou, "how": PROTOCOLS[name]}
        hits, points = int(np.trace(self.confusion)), int(self.confusion.sum())
        out["slidr"]["fwiou"] = hits / (2 * points - hits) if points else None
        return out

    def _iou(self, confusion: NDArray[np.int64]) -> dict[str, float | None]:
        hits = np.diagonal(confusion)
        union = confusion.sum(axis=1) + confusion[:, : len(self.names)].sum(axis=0) - hits
        pairs = zip(self.names, hits.tolist(), union.tolist(), strict=True)
        return {name: hit / total if total else None for name, hit, total in pairs}


def _filled(iou: dict[str, float | None], empty: float) -> dict[str, float | None]:
    return {name: empty if value is None else value for name, value in iou.items()}


def _mean(iou: dict[str, float | None]) -> float | None:
    values = [value for value in iou.values() if value is not None]
    return sum(values) / len(values) if values else None
