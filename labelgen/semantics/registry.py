"""Semantic encoders and captioners by name: how one is made, and what a run records about it."""

from __future__ import annotations

from pathlib import Path

from labelgen.config import SemanticsConfig
from labelgen.models.info import ModelInfo
from labelgen.semantics.base import Captioner, CaptionerConfig, SemanticEncoder


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
