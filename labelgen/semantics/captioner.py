"""What a captioner takes and gives, and how one is made by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.config import SemanticsConfig
from labelgen.models.info import ModelInfo
from labelgen.records import Regions


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


def captioner_config(settings: SemanticsConfig) -> CaptionerConfig:
    """The captioner that a run's configuration asks for."""
    return CaptionerConfig(
        model=settings.caption_model,
        checkpoint=settings.caption_checkpoint,
        crop_scale=settings.caption_crop_scale,
        background=settings.caption_background,
        batch_size=settings.caption_batch_size,
        max_tokens=settings.caption_tokens,
    )


def make_captioner(config: CaptionerConfig, device: str = "auto", threads: int = 1) -> Captioner:
    """Make the backend that the configuration names.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    from labelgen.semantics.blip2 import Blip2Captioner

    return Blip2Captioner(config, device=device, threads=threads)


def describe_captioner(config: CaptionerConfig) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: weights are missing.
    """
    from labelgen.semantics.blip2 import describe_blip2

    return describe_blip2(config.model, config.checkpoint)[1]
