"""What a region proposer takes and gives, and how one is made by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.config import RegionsConfig
from labelgen.models.info import ModelInfo


@dataclass(frozen=True)
class ImageRegions:
    """Regions of one image.

    Attributes:
        size: (height, width) of the image and of every mask.
        box_xyxy: (K, 4) float32, pixels: left, top, right, bottom; right and bottom are exclusive.
        area: (K,) int32, pixels.
        score: (K,) float16 in 0..1.
        stability: (K,) float16 in 0..1.
        rle: K compressed run-length codes, as COCO's ``counts`` (column-major).
    """

    size: tuple[int, int]
    box_xyxy: NDArray[np.float32]
    area: NDArray[np.int32]
    score: NDArray[np.float16]
    stability: NDArray[np.float16]
    rle: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.rle)


class RegionProposer(Protocol):
    """Finds the regions of an image."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def propose(self, image: NDArray[np.uint8], prompts: NDArray[np.float32] | None = None) -> ImageRegions:
        """Regions of one image.

        Args:
            image: (H, W, 3) uint8 RGB; greyscale (H, W) is taken as three equal channels.
            prompts: (P, 2) float32 pixels that should lie in some region; None lets the backend choose.
        """
        ...


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image as contiguous (H, W, 3) uint8; greyscale is repeated, an alpha channel dropped.

    Raises:
        ValueError: another shape, another dtype, or no pixels.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"an image must be uint8, got {image.dtype}")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"an image must be (H, W, 3) with at least one pixel, got {image.shape}")
    channels = [0, 0, 0] if image.shape[2] == 1 else [0, 1, 2]
    return np.ascontiguousarray(image if image.shape[2] == 3 else image[..., channels])


def make_proposer(config: RegionsConfig, device: str = "auto", threads: int = 1) -> RegionProposer:
    """Make the backend that the configuration names.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    if config.backend == "superpixel":
        from labelgen.regions.superpixel import SuperpixelProposer

        return SuperpixelProposer(config)
    from labelgen.regions.sam import SamProposer

    return SamProposer(config, device=device, threads=threads)


def describe_proposer(config: RegionsConfig) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: weights are missing.
    """
    if config.backend == "superpixel":
        from labelgen.regions.superpixel import SuperpixelProposer

        return SuperpixelProposer(config).info
    from labelgen.regions.sam import describe_sam

    return describe_sam(config.model, config.checkpoint)[1]
