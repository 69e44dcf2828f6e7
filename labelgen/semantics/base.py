"""What a semantic encoder and a captioner take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.models.info import ModelInfo
from labelgen.records import Regions, Semantics
from labelgen.taxonomy import Taxonomy


class TextEncoder(Protocol):
    """Puts texts into the space of the image features."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(T, D) float32, L2-normalised."""
        ...


class SemanticEncoder(Protocol):
    """Gives the regions of a frame class scores and features."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def encode(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions, taxonomy: Taxonomy
    ) -> Semantics:
        """Semantics of the regions, row by row.

        Args:
            images: one per camera, (H, W, 3) uint8 RGB; None where the image is missing (no region may
                lie in it).
            regions: of the frame.
            taxonomy: the classes that compete.
        """
        ...

    def class_embedding(self, taxonomy: Taxonomy) -> NDArray[np.float32]:
        """(C, D) float32, L2-normalised text feature of every class, for the run's record."""
        ...


@dataclass(frozen=True)
class CaptionerConfig:
    """Which model describes regions, and what it sees of them.

    The defaults suit the shipped model. Public models have seen whole photographs: give them
    ``crop_scale=1.2, background=1.0``.

    Attributes:
        model: ``demo`` (shipped), or a BLIP-2 of the hub such as ``Salesforce/blip2-opt-2.7b``.
        checkpoint: folder as transformers writes it (configuration, processor, safetensors), in place of
            the hub's or the shipped one.
        crop_scale: side of the square crop over the region's longer side, at least 1.
        background: share of the surroundings that stays visible, 0 to 1.
        batch_size: crops per forward pass.
        max_tokens: longest caption.
    """

    model: str = "demo"
    checkpoint: str | None = None
    crop_scale: float = 1.8
    background: float = 0.5
    batch_size: int = 64
    max_tokens: int = 20


class Captioner(Protocol):
    """Describes regions in words."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def caption(
        self,
        images: Sequence[NDArray[np.uint8] | None],
        regions: Regions,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[str, ...]:
        """A caption for every region, in order.

        Args:
            images: one per camera, (H, W, 3) uint8 RGB; None where the image is missing (no region may
                lie in it).
            regions: of the frame, K of them.
            rows: regions to describe, ascending; the others get an empty caption. None for all.

        Returns:
            K strings.
        """
        ...
