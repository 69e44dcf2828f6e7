"""What a semantic encoder takes and gives, and how one is made by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.config import SemanticsConfig
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


def make_encoder(config: SemanticsConfig, device: str = "auto", threads: int = 1) -> SemanticEncoder:
    """Make the backend that the configuration names.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    from labelgen.semantics.openclip import OpenClipEncoder

    return OpenClipEncoder(config, device=device, threads=threads)


def describe_encoder(config: SemanticsConfig) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: weights are missing.
    """
    from labelgen.semantics.clip_weights import describe_open_clip

    return describe_open_clip(config.model, config.checkpoint, config.pretrained).info


def settle_semantics(config: SemanticsConfig) -> SemanticsConfig:
    """The configuration with every ``auto`` replaced by what it stands for, without loading a model.

    So is ``pretrained`` for a file that says what it holds.

    Raises:
        UserError: settings that make no sense for the model.
    """
    from labelgen.semantics.clip_training import training_of_file
    from labelgen.semantics.modes import settle_mode

    if config.pretrained is None and config.checkpoint and Path(config.checkpoint).is_file():
        tag, _ = training_of_file(config.model, Path(config.checkpoint), None)
        config = config.model_copy(update={"pretrained": tag})
    return settle_mode(config)
