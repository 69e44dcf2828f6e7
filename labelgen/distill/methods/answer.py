"""What a trained network says of the points of a frame: classes by their probabilities, or segments."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """Answer for the P points of one frame.

    Attributes:
        label: (P,) int64 class, 255 (`IGNORE`) for none.
        instance: (P,) int64 number of the object from 1, 0 for stuff and for none.
        confidence: (P,) probability of the class times that of the mask.
        margin: (P,) lead over the next segment, in 0..1.
    """

    label: Tensor
    instance: Tensor
    confidence: Tensor
    margin: Tensor


@dataclass(frozen=True)
class Answer:
    """What a method predicts for the P points of one frame: one of the two.

    Attributes:
        probability: (P, C) float32 of the classes, of a method that weighs them point by point.
        segments: of a method that finds objects.
    """

    probability: Tensor | None = None
    segments: Segments | None = None
