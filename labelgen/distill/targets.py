"""What a network may learn of a frame's points: true or pseudo-labels and objects, novel classes hidden."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.distill.batch import IGNORE, NONE
from labelgen.distill.classes import ClassSplit
from labelgen.runs import Run


@dataclass(frozen=True)
class Targets:
    """Of the N raw points of a frame.

    Attributes:
        label: (N,) uint8 class, 255 for none.
        confidence: (N,) float32 in 0..1, of the label.
        instance: (N,) int64 number of the object from 0, -1 for none; None where it is not asked for.
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    instance: NDArray[np.int64] | None


class TargetReader:
    """Reads targets from the truth or from the run.

    Objects are those of things. Of the truth, every point of a thing is in one, as in the evaluations of
    nuScenes and SemanticKITTI; of the run, only what has a number there.

    Args:
        run: to read from.
        frames: that will be read.
        needs: fields of `Batch`; with ``instance``, truth is the data set's panoptic one.
        truth: read the data set's truth, with confidence 1, instead of the run's labels.
        min_confidence: labels of the run below it are none.
        classes: points of its novel classes come out like points without a label.

    Raises:
        UserError: the data set names no such truth for a frame (names it).
    """

    def __init__(
        self,
        run: Run,
        frames: Sequence[str],
        needs: Collection[str],
        *,
        truth: bool,
        min_confidence: float,
        classes: ClassSplit | None,
    ) -> None:
        self.run, self.truth, self.min_confidence = run, truth, min_confidence
        self.objects = "instance" in needs
        self.thing = run.taxonomy.things()
        self.hidden = np.zeros(256, np.bool_) if classes is None else classes.is_novel()
        field = "panoptic_path" if self.objects else "label_path"
        if truth and (without := [f for f in frames if getattr(run.planned(f), field) is None]):
            raise UserError(
                f"{len(without)} frames have no truth to learn from, such as {without[0]}: "
                f"{run.url}/frames.parquet names no {field} for it"
            )

    def __call__(self, frame_id: str, stored: Mapping[str, Any]) -> Targets:
        """Targets of a frame.

        Args:
            frame_id: of the frame.
            stored: {name: array of the run}; see `labelgen.distill.needs.SOURCES`.

        Raises:
            FrameError: its truth is missing or damaged.
            UserError: a label that the taxonomy lacks.
        """
        number = None
        if self.truth and self.objects:
            label, number = self.run.frame(frame_id).objects
        elif self.truth:
            label = self.run.frame(frame_id).truth
        else:
            label = stored["points/label"].copy()
        confidence = np.ones(len(label), np.float32)
        if not self.truth:
            if "points/confidence" in stored:
                confidence = stored["points/confidence"].astype(np.float32) / 255
            label[confidence < self.min_confidence] = IGNORE
            if self.objects:
                number = stored["points/instance"].astype(np.int64)
        if label.max(initial=0, where=label != IGNORE) >= len(self.run.taxonomy):
            raise UserError(f"frame {frame_id}: a label is not one of the {len(self.run.taxonomy)} classes")
        novel = self.hidden[label]
        label[novel] = IGNORE
        confidence[novel] = float(self.truth)  # that of any point without a label
        return Targets(label, confidence, None if number is None else self._objects(label, number))

    def _objects(self, label: NDArray[np.uint8], number: NDArray[np.int64]) -> NDArray[np.int64]:
        numbered = self.thing[label] & (self.truth | (number > 0))
        return from_zero(np.where(numbered, label.astype(np.int64) << 48 | number, NONE))


def from_zero(number: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same numbers as 0, 1, ... in their order; -1 stays."""
    out = np.full(len(number), NONE, np.int64)
    out[number != NONE] = np.unique(number[number != NONE], return_inverse=True)[1]
    return out
