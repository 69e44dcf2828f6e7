"""Reduces images before regions are proposed, and says which reduced pixel lies under a pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def reduce_image(image: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """Reduce an (H, W, 3) image so that its longer side is at most ``max_side`` pixels; None keeps it."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    new_size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(new_size, Image.Resampling.BILINEAR))


def source_index(size: int, new_size: int) -> NDArray[np.int64]:
    """(new_size,) int64: for every new row (or column) the old one under its centre."""
    return (2 * np.arange(new_size, dtype=np.int64) + 1) * size // (2 * new_size)
