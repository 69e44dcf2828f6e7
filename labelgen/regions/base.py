"""What a region proposer takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.geometry.rle import Runs, area_and_box, encode_labels, measure, to_codes
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
        parent: (K,) int32, row of the smallest region that contains this one, -1 for none; or None.
    """

    size: tuple[int, int]
    box_xyxy: NDArray[np.float32]
    area: NDArray[np.int32]
    score: NDArray[np.float16]
    stability: NDArray[np.float16]
    rle: tuple[bytes, ...]
    parent: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.rle)


@dataclass(frozen=True)
class Prompts:
    """What is known about one image before its regions are proposed; a backend takes what it can use.

    Attributes:
        uv: (P, 2) float32 pixels of the LiDAR points that the camera sees.
        depth: (P,) float32, their depths in metres.
        boxes: (B, 4) float32, pixels: left, top, right, bottom of boxes to be filled with a region each.
        image_path: of the image, relative to the data root.
        projected: (Q, 2) float32 pixels of all LiDAR points in the image, hidden ones, too.
    """

    uv: NDArray[np.float32] | None = None
    depth: NDArray[np.float32] | None = None
    boxes: NDArray[np.float32] | None = None
    image_path: str = ""
    projected: NDArray[np.float32] | None = None


class RegionProposer(Protocol):
    """Finds the regions of images; a backend that inherits from this implements ``propose`` or both."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Regions of one image.

        Args:
            image: (H, W, 3) uint8 RGB; greyscale (H, W) is taken as three equal channels.
            prompts: what is known about it; None lets the backend choose by itself.

        Raises:
            FrameError: no regions can be had of this image; the frame is recorded as failed, the run goes on.
        """
        ...

    def propose_frame(
        self, images: Sequence[NDArray[np.uint8] | None], prompts: Sequence[Prompts] | None = None
    ) -> list[ImageRegions | None]:
        """Regions of a frame's images, in their order; a missing image (None) has none."""
        known: Sequence[Prompts | None] = prompts or [None] * len(images)
        return [
            None if image is None else self.propose(image, prompt)
            for image, prompt in zip(images, known, strict=True)
        ]


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


def regions_of_runs(
    runs: Runs,
    size: tuple[int, int],
    score: NDArray[np.float32] | None = None,
    stability: NDArray[np.float32] | None = None,
    parent: NDArray[np.int32] | None = None,
) -> ImageRegions:
    """Regions of masks given as runs; without a score or stability, it is 1."""
    area, box = measure(runs, size[0])
    ones = np.ones(len(area), np.float32)

    def share(values: NDArray[np.float32] | None) -> NDArray[np.float16]:
        return np.clip(np.nan_to_num(ones if values is None else values), 0, 1).astype(np.float16)

    return ImageRegions(
        size, box.astype(np.float32), area, share(score), share(stability), to_codes(runs), parent
    )


def regions_of_labels(labels: NDArray[np.integer[Any]], count: int) -> ImageRegions:
    """Regions of a label map: the pixels that hold 0, 1, ... ``count - 1``; score 1.

    Args:
        labels: (H, W) integers; others than 0..count - 1 are in no region.
        count: number of regions.
    """
    size = (labels.shape[0], labels.shape[1])
    codes = encode_labels(labels, count)
    area, box = area_and_box(codes, *size)
    ones = np.ones(count, np.float16)
    return ImageRegions(size, box, area, score=ones, stability=ones.copy(), rle=codes)
