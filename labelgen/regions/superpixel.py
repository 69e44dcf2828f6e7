"""Region proposals without a network: SLIC superpixels."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from labelgen.config import RegionsConfig
from labelgen.geometry.rle import area_and_box, encode_labels
from labelgen.models.info import ModelInfo
from labelgen.regions.base import ImageRegions, as_rgb
from labelgen.regions.scale import reduce_image, source_index


class SuperpixelProposer:
    """SLIC (Achanta et al. 2012) with SLidR's settings (Sautier et al. 2022): a partition of the image."""

    def __init__(self, config: RegionsConfig) -> None:
        self.config = config
        revision = f"scikit-image {version('scikit-image')}"
        self.info = ModelInfo("superpixel:slic", revision, "BSD-3-Clause", weights="")

    def propose(self, image: NDArray[np.uint8], prompts: NDArray[np.float32] | None = None) -> ImageRegions:
        """Superpixels of one image; prompts change nothing. See `RegionProposer.propose`."""
        image = as_rgb(image)
        reduced = reduce_image(image, self.config.max_side)
        labels = slic(
            reduced,
            n_segments=self.config.superpixel_segments,
            compactness=self.config.superpixel_compactness,
            sigma=self.config.superpixel_sigma,
            start_label=0,
            channel_axis=-1,
        )
        rows = source_index(reduced.shape[0], image.shape[0])
        columns = source_index(reduced.shape[1], image.shape[1])
        names, numbers = np.unique(labels, return_inverse=True)
        return regions_of_labels(numbers.reshape(labels.shape)[rows[:, None], columns], len(names))


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
