"""Superpixels beside masks: they decide where masks are missing, or too coarse for what is thin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labelgen.geometry.rle import label_counts
from labelgen.models.info import ModelInfo
from labelgen.regions.base import ImageRegions, Prompts, RegionProposer


class JoinedProposer:
    """The regions of one backend and, with a score of their own, superpixels of the same images.

    Superpixels without a LiDAR point, seen or hidden, are left out where the points are known: they never
    vote, and are a third of all in a street scene.
    """

    def __init__(self, masks: RegionProposer, superpixels: RegionProposer, score: float) -> None:
        """Join two backends.

        Args:
            masks: the first, whose regions keep their scores.
            superpixels: the second.
            score: of the second's regions, in 0..1; it weighs their votes.
        """
        self.masks, self.superpixels, self.score = masks, superpixels, score

    @property
    def info(self) -> ModelInfo:
        """The masks' record, with both names."""
        return joined_info(self.masks.info, self.superpixels.info)

    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Masks, then superpixels; see `RegionProposer.propose`."""
        both = self.masks.propose(image, prompts), self.superpixels.propose(image, prompts)
        return self._join(*both, prompts)

    def propose_frame(
        self, images: Sequence[NDArray[np.uint8] | None], prompts: Sequence[Prompts] | None = None
    ) -> list[ImageRegions | None]:
        """Regions of a frame's images; see `RegionProposer.propose_frame`."""
        both = (backend.propose_frame(images, prompts) for backend in (self.masks, self.superpixels))
        known: Sequence[Prompts | None] = prompts or [None] * len(images)
        return [
            None if first is None or second is None else self._join(first, second, prompt)
            for first, second, prompt in zip(*both, known, strict=True)
        ]

    def _join(self, first: ImageRegions, second: ImageRegions, known: Prompts | None) -> ImageRegions:
        if known is not None and known.projected is not None:
            second = _under(second, known.projected)
        parent = None
        if first.parent is not None:
            parent = np.concatenate([first.parent, np.full(len(second), -1, np.int32)])
        return ImageRegions(
            size=first.size,
            box_xyxy=np.concatenate([first.box_xyxy, second.box_xyxy]),
            area=np.concatenate([first.area, second.area]),
            score=np.concatenate([first.score, np.full(len(second), self.score, np.float16)]),
            stability=np.concatenate([first.stability, second.stability]),
            rle=first.rle + second.rle,
            parent=parent,
        )


def _under(regions: ImageRegions, uv: NDArray[np.float32]) -> ImageRegions:
    """The regions that some point's pixel falls in."""
    height, width = regions.size
    x, y = np.floor(uv.astype(np.float64) + 0.5).T
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    marked = np.zeros(regions.size, np.uint8)
    marked[y[within].astype(np.int64), x[within].astype(np.int64)] = 1
    rows = np.flatnonzero(label_counts(regions.rle, marked, 2)[:, 1])
    return ImageRegions(
        size=regions.size,
        box_xyxy=regions.box_xyxy[rows],
        area=regions.area[rows],
        score=regions.score[rows],
        stability=regions.stability[rows],
        rle=tuple(regions.rle[row] for row in rows),
    )


def joined_info(masks: ModelInfo, superpixels: ModelInfo) -> ModelInfo:
    """What to record about masks joined by superpixels."""
    return replace(
        masks,
        name=f"{masks.name}+{superpixels.name}",
        revision=f"{masks.revision}, {superpixels.revision}",
    )
