"""A region proposer: connected patches of like colour."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelgen.models.backend import Backend
from labelgen.models.info import ModelInfo
from labelgen.regions import ImageRegions, Prompts, RegionProposer, regions_of_labels
from labelgen.regions.settings import Proposer


class PatchSettings(Proposer):
    """Patches of like colour."""

    backend: Literal["patches"] = Field("patches", description="how regions are proposed")
    steps: int = Field(4, ge=1, le=32, description="of each colour channel; pixels of equal steps are alike")
    cell: int = Field(4, ge=1, le=64, description="side of the squares, in pixels, that are alike or not")


class PatchProposer(RegionProposer):
    """Takes the mean colour of small squares, in steps, and joins neighbours of equal steps."""

    def __init__(self, config: PatchSettings) -> None:
        self.config = config

    @property
    def info(self) -> ModelInfo:
        """What a run records."""
        return describe(self.config)

    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Regions of an (H, W, 3) uint8 RGB image; what is known of it by the LiDAR is not asked for."""
        from skimage.measure import label

        height, width = image.shape[:2]
        rows, columns = (np.arange(length) // self.config.cell for length in (height, width))
        total = np.add.reduceat(image.astype(np.float64), np.unique(rows, return_index=True)[1], axis=0)
        total = np.add.reduceat(total, np.unique(columns, return_index=True)[1], axis=1)
        pixels = np.bincount(rows)[:, None] * np.bincount(columns)
        step = (total / pixels[..., None] * self.config.steps / 256).astype(np.int64)
        colour = (step * self.config.steps ** np.arange(3)).sum(axis=-1)
        patches, count = label(colour, background=-1, return_num=True, connectivity=1)
        return regions_of_labels((patches - 1)[rows[:, None], columns], count)


def describe(config: PatchSettings) -> ModelInfo:
    """What a run records. The name, the revision and the settings tell runs apart."""
    return ModelInfo("patches", revision="1", licence="Apache-2.0", weights="")


PATCHES = Backend(
    about="connected patches of like colour",
    settings=PatchSettings,
    describe=describe,
    make=lambda config, device, threads: PatchProposer(config),
)
