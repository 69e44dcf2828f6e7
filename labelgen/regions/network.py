"""What the mask generator asks of a network that turns prompts into masks: Sam, SAM 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelgen.models.info import ModelInfo
from labelgen.regions.decoder import Decoded
from labelgen.regions.upsample import Axis


@dataclass(frozen=True)
class Embedding:
    """An encoded image.

    Attributes:
        image: (C, h, w), the dense prompt's embedding added.
        finer: SAM 2's finer features; see `labelgen.regions.decoder.PromptDecoder`.
        scale: (2,) pixels of the network's input per pixel of the image, along x and y.
        columns, rows: how the image's pixels follow from low-resolution logits.
        cells: rows and columns of the embedding that show the image; the rest is padding.
    """

    image: Tensor
    finer: tuple[Tensor, Tensor] | None
    scale: NDArray[np.float64]
    columns: Axis
    rows: Axis
    cells: tuple[int, int]

    @property
    def width(self) -> int:
        """Of the image that was encoded, pixels."""
        return len(self.columns.first)

    @property
    def height(self) -> int:
        """Of the image that was encoded, pixels."""
        return len(self.rows.first)


class PromptedNetwork(Protocol):
    """Encodes images, and decodes prompts on an encoded image."""

    info: ModelInfo

    def to(self, device: torch.device, *, compiled: bool) -> None:
        """Move to a device; ``compiled`` passes the image encoder through ``torch.compile``."""

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Encode (H, W, 3) uint8 images of any sizes in one batch."""
        ...

    def decode(
        self,
        embedding: Embedding,
        *,
        points: NDArray[np.float64] | None = None,
        boxes: NDArray[np.float64] | None = None,
        min_score: float = 0.0,
    ) -> Decoded:
        """Masks of a batch of prompts: three for each of (P, 2) points, or one for each of (P, 4) boxes.

        Both are in pixels of the network's input, as the network's own prompt encoder takes them.
        """
        ...


def cells_of(columns: Axis, rows: Axis, logits_per_cell: int = 4) -> tuple[int, int]:
    """Rows and columns of the embedding whose logits count."""
    return -(-rows.logits // logits_per_cell), -(-columns.logits // logits_per_cell)
