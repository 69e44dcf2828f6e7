"""Confidence that means what it says: the share of labels that are right, learnt where there is truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED, PointLabels
from labelgen.core.text_files import read_json

_FORMAT = "labelgen-calibration"
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Calibration:
    """What each stored confidence means.

    Attributes:
        table: (256,) float64 in 0..1, not falling: share of labels of that confidence that are right.
    """

    table: NDArray[np.float64]

    def __call__(self, labels: PointLabels) -> PointLabels:
        """The same labels with confidence from the table; what is unlabelled stays."""
        stored = np.rint(self.table * 255).astype(np.uint8)
        known = labels.label != UNLABELLED
        return replace(labels, confidence=np.where(known, stored[labels.confidence], labels.confidence))

    def save(self, path: Path) -> None:
        """Write a small JSON file.

        Raises:
            UserError: it cannot be written.
        """
        content = {"format": _FORMAT, "table": [round(float(value), 6) for value in self.table]}
        try:
            path.write_text(json.dumps(content) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error


def fit(counts: NDArray[np.int64], right: NDArray[np.int64]) -> Calibration:
    """Isotonic regression of being right on confidence, by pooling adjacent violators.

    Args:
        counts: (256,) labels of each stored confidence.
        right: (256,) those of them that are right.

    Raises:
        UserError: there are no labels.
    """
    if not counts.sum():
        raise UserError("no labels with known truth; there is nothing to calibrate on")
    # One made-up label per level, half right, so that rare levels are not certain of anything.
    mass, hits = counts + 1e-3, right + 0.5e-3
    blocks: list[list[float]] = []  # mass, hits, levels
    for m, h in zip(mass.tolist(), hits.tolist(), strict=True):
        blocks.append([m, h, 1])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    table = np.concatenate([np.full(int(levels), h / m) for m, h, levels in blocks])
    return Calibration(table)


def load(path: Path) -> Calibration:
    """Read what `Calibration.save` wrote.

    Raises:
        UserError: no such file, or it is not one of these.
    """
    content = read_json(path, "calibration", _LARGEST)
    try:
        table = np.array(content["table"], np.float64)
        if content["format"] != _FORMAT or table.shape != (256,):
            raise ValueError("another format")
        if not ((table >= 0) & (table <= 1)).all() or (np.diff(table) < 0).any():
            raise ValueError("expected shares that never decrease")
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise UserError(
            f"{path} is not a calibration; make one with `labelgen evaluate --calibrate`"
        ) from error
    return Calibration(table)
