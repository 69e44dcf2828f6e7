"""Region proposals without a network: superpixels, a partition of the image."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb, slic

from labelgen.models.info import ModelInfo
from labelgen.regions.base import ImageRegions, Prompts, RegionProposer, as_rgb, regions_of_labels
from labelgen.regions.scale import reduce_image, source_index
from labelgen.regions.settings import Superpixels


def describe_superpixel(config: Superpixels) -> ModelInfo:
    """What to record about the method."""
    revision = f"scikit-image {version('scikit-image')}"
    return ModelInfo(f"superpixel:{config.superpixel_method}", revision, "BSD-3-Clause", weights="")


class SuperpixelProposer(RegionProposer):
    """SLIC (Achanta et al. 2012) with SLidR's settings (Sautier et al. 2022), or Felzenszwalb's graph cuts.

    Felzenszwalb and Huttenlocher 2004. Images whose longer side exceeds ``max_side`` are reduced first.
    """

    def __init__(self, config: Superpixels) -> None:
        self.config = config
        self._info = describe_superpixel(config)

    @property
    def info(self) -> ModelInfo:
        """See `RegionProposer.info`."""
        return self._info

    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Superpixels of one image; prompts change nothing. See `RegionProposer.propose`."""
        image = as_rgb(image)
        reduced = reduce_image(image, self.config.max_side)
        labels = self._segments(reduced)
        rows = source_index(reduced.shape[0], image.shape[0])
        columns = source_index(reduced.shape[1], image.shape[1])
        names, numbers = np.unique(labels, return_inverse=True)
        return regions_of_labels(numbers.reshape(labels.shape)[rows[:, None], columns], len(names))

    def _segments(self, image: NDArray[np.uint8]) -> Any:
        config = self.config
        if config.superpixel_method == "felzenszwalb":
            return felzenszwalb(
                image,
                scale=config.superpixel_scale,
                sigma=config.superpixel_sigma,
                min_size=config.superpixel_min_size,
                channel_axis=-1,
            )
        return slic(
            image,
            n_segments=config.superpixel_segments,
            compactness=config.superpixel_compactness,
            sigma=config.superpixel_sigma,
            start_label=0,
            channel_axis=-1,
        )
