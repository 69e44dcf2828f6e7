"""Dense maps as they are stored: one grid for all images of a run, as float16 or in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import DenseFeatures
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.settings import DenseFeatureSettings


def store_dense(maps: Sequence[DenseMap | None], settings: DenseFeatureSettings) -> DenseFeatures | None:
    """Dense maps of a frame's images on the configured grid.

    A cell's feature is the map's at the cell's centre (bilinear, L2-normalised).

    Args:
        maps: one per camera; None where the image is missing.
        settings: grid and type.

    Returns:
        A cameras; None if no image is there.
    """
    there = [one for one in maps if one is not None]
    if not there:
        return None
    (h, w), D = settings.grid, there[0].feature.shape[2]
    values = np.zeros((len(maps), h, w, D), np.float32)
    size = np.zeros((len(maps), 2), np.int32)
    for number, one in enumerate(maps):
        if one is not None:
            height, width = one.size
            y, x = np.meshgrid(
                (np.arange(h) + 0.5) * height / h - 0.5, (np.arange(w) + 0.5) * width / w - 0.5, indexing="ij"
            )
            values[number] = one.at(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(h, w, D)
            size[number] = width, height
    if settings.dtype == "float16":
        return DenseFeatures(values.astype(np.float16), size)
    return quantise(values, size)


def quantise(values: NDArray[np.float32], size: NDArray[np.int32]) -> DenseFeatures:
    """8 bits a number, and a scale for each cell: |error| is at most half a step, 1/254 of the largest.

    Args:
        values: (A, h, w, D).
        size: (A, 2) of the images.
    """
    scale = (np.abs(values).max(axis=3) / 127).astype(np.float16)
    steps = np.maximum(scale.astype(np.float32), np.float32(1e-8))[..., None]
    return DenseFeatures(np.clip(np.rint(values / steps), -127, 127).astype(np.int8), size, scale)
