"""Features of a whole image on a grid: what the dense modes give, and how it is read at pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import Regions, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.semantics.prompts import normalise


@dataclass(frozen=True)
class DenseMap:
    """Image features in the texts' space on a regular grid over one image.

    The grid divides the image evenly, whatever the encoder's windows were: cell (i, j) covers the pixels
    from (j W / w, i H / h) to ((j + 1) W / w, (i + 1) H / h), counted from the image's top left corner.

    Attributes:
        feature: (h, w, D) float32 or float16, L2-normalised.
        size: (H, W) of the image, pixels.
    """

    feature: NDArray[np.floating[Any]]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.feature.ndim != 3 or 0 in self.feature.shape or min(self.size) < 1:
            raise ValueError(f"not a grid over {self.size} pixels: {self.feature.shape}")

    def at(self, uv: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Features at pixels: bilinear between the cells' centres, the outermost cells' beyond these.

        Args:
            uv: (N, 2) pixels, (0, 0) the centre of the top left one.

        Returns:
            (N, D) float32, L2-normalised.
        """
        h, w, _ = self.feature.shape
        (j, across), (i, down) = (
            _neighbours(uv[:, 0], self.size[1], w),
            _neighbours(uv[:, 1], self.size[0], h),
        )
        k, m = np.minimum(j + 1, w - 1), np.minimum(i + 1, h - 1)
        cells = self.feature
        upper = cells[i, j] * (1 - across) + cells[i, k] * across
        lower = cells[m, j] * (1 - across) + cells[m, k] * across
        return normalise((upper * (1 - down) + lower * down).astype(np.float32))


def _neighbours(
    pixel: NDArray[np.floating[Any]], pixels: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The cell whose centre lies before each pixel, and (N, 1) share of the one after it."""
    at = np.clip((pixel.astype(np.float64) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    before = at.astype(np.int64)
    return before, (at - before).astype(np.float32)[:, None]


class DenseEncoder(Protocol):
    """A semantic encoder that gives dense maps, too; `labelgen.semantics.make_encoder` makes one."""

    def dense(self, images: Sequence[NDArray[np.uint8] | None]) -> list[DenseMap | None]:
        """A map for each image of a frame; None where the image is missing.

        Where the mode has no map of its own (``crop``, ``maskattn``), it is the architecture's best.

        Raises:
            UserError: the architecture has no dense features in the texts' space.
        """
        ...

    def encode_with_dense(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions, taxonomy: Taxonomy
    ) -> tuple[Semantics, list[DenseMap | None]]:
        """`SemanticEncoder.encode` and `dense` in one pass of the encoder per image."""
        ...
