"""Region proposals without a network: SLIC superpixels."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from skimage.segmentation import slic

from labelgen.config import RegionsConfig
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
        labels = self._label_map(image)
        codes = [
            coco.encode(np.asfortranarray(labels == label, dtype=np.uint8)) for label in np.unique(labels)
        ]
        box = np.asarray(coco.toBbox(codes), np.float32).reshape(-1, 4)
        box[:, 2:] += box[:, :2]
        return ImageRegions(
            size=(image.shape[0], image.shape[1]),
            box_xyxy=box,
            area=coco.area(codes).astype(np.int32),
            score=np.ones(len(codes), np.float16),
            stability=np.ones(len(codes), np.float16),
            rle=tuple(code["counts"] for code in codes),
        )

    def _label_map(self, image: NDArray[np.uint8]) -> NDArray[np.int64]:
        """(H, W) superpixel numbers, computed on the reduced image."""
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
        full: NDArray[np.int64] = labels[rows[:, None], columns]
        return full
