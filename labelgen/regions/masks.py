"""Masks of one image while they are being chosen: run lengths with scores, and their suppression."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import remove_small_regions
from torchvision.ops import nms

from labelgen.geometry.rle import Runs, decode, encode, measure, parse, to_codes


@dataclass(frozen=True)
class MaskSet:
    """K masks of one image.

    Attributes:
        ends: per mask, int32 pixels at which its runs end; see `labelgen.geometry.rle.Runs`.
        score: (K,) float32 predicted IoU.
        stability: (K,) float32.
        box: (K, 4) float32, left, top, right, bottom pixel, all inside: as the official generator compares
            them.
        crop_area: (K,) float32, pixels of the crop that the mask was found in.
    """

    ends: list[NDArray[np.int32]]
    score: NDArray[np.float32]
    stability: NDArray[np.float32]
    box: NDArray[np.float32]
    crop_area: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def runs(self) -> Runs:
        """All masks in one table."""
        return join_ends(self.ends)

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> MaskSet:
        """The masks of these rows, in their order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        columns = (self.score, self.stability, self.box, self.crop_area)
        return MaskSet([self.ends[k] for k in rows], *(column[rows] for column in columns))

    def suppressed(self, thresh: float, preference: NDArray[np.float32] | None = None) -> MaskSet:
        """Greedy suppression of masks whose boxes overlap a better one's by an IoU above ``thresh``.

        Args:
            thresh: 1 or more keeps all.
            preference: (K,) which is better; None for the score. Sorted by it, best first.
        """
        better = self.score if preference is None else preference
        return self.take(nms(torch.from_numpy(self.box), torch.from_numpy(better), thresh).numpy())

    @classmethod
    def of(
        cls,
        ends: list[NDArray[np.int32]],
        score: NDArray[np.float32],
        stability: NDArray[np.float32],
        height: int,
        crop_area: float,
    ) -> MaskSet:
        """A set with the boxes of its masks."""
        area = np.full(len(ends), crop_area, np.float32)
        return cls(ends, score, stability, inside_boxes(join_ends(ends), height), area)

    @classmethod
    def joined(cls, parts: Iterable[MaskSet]) -> MaskSet:
        """All masks of several sets."""
        nothing = np.zeros(0, np.float32)
        sets = [cls.of([], nothing, nothing, 1, 0), *parts]
        columns = ("score", "stability", "box", "crop_area")
        return cls(
            [mask for part in sets for mask in part.ends],
            *(np.concatenate([getattr(part, name) for part in sets]) for name in columns),
        )


def join_ends(ends: list[NDArray[np.int32]]) -> Runs:
    """One table of several masks' runs."""
    offsets = np.cumsum([0, *map(len, ends)], dtype=np.int64)
    return Runs(np.concatenate([np.zeros(0, np.int32), *ends]), offsets)


def inside_boxes(runs: Runs, height: int) -> NDArray[np.float32]:
    """(K, 4) boxes whose last two sides lie inside; zeros for an empty mask."""
    box = measure(runs, height)[1]
    box[:, 2:] -= box[:, 2:] > 0
    return box.astype(np.float32)


def remove_specks(masks: MaskSet, area: int, size: tuple[int, int], thresh: float) -> MaskSet:
    """Fill holes and drop islands smaller than ``area`` pixels, then suppress what became a duplicate.

    As the official generator: masks that needed no change are preferred. One mask is dense at a time.
    """
    ends, whole = [], []
    for mask in masks.ends:
        dense = decode(to_codes(join_ends([mask]))[0], *size)
        dense, filled = remove_small_regions(dense, area, mode="holes")
        dense, dropped = remove_small_regions(dense, area, mode="islands")
        whole.append(not (filled or dropped))
        ends.append(mask if whole[-1] else parse([encode(dense)], *size).ends)
    changed = MaskSet(
        ends, masks.score, masks.stability, inside_boxes(join_ends(ends), size[0]), masks.crop_area
    )
    return changed.suppressed(thresh, np.asarray(whole, np.float32))
