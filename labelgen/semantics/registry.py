"""Semantic encoders and captioners by name: how one is made, and what a run records about it."""

from __future__ import annotations

from pathlib import Path

from labelgen.models.info import ModelInfo
from labelgen.semantics.base import Captioner, SemanticEncoder
from labelgen.semantics.settings import CaptionSettings, OpenClipSettings


def make_encoder(config: OpenClipSettings, device: str = "auto", threads: int = 1) -> SemanticEncoder:
    """Make the backend that the configuration names.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    from labelgen.semantics.openclip import OpenClipEncoder

    return OpenClipEncoder(config, device=device, threads=threads)


def describe_encoder(config: OpenClipSettings) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: weights are missing.
    """
    from labelgen.semantics.clip_weights import describe_open_clip

    return describe_open_clip(config.model, config.checkpoint, config.pretrained).info


def settle_semantics(config: OpenClipSettings) -> OpenClipSettings:
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


def make_captioner(config: CaptionSettings, device: str = "auto", threads: int = 1) -> Captioner:
    """Make the backend that the configuration names.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    from labelgen.semantics.blip2 import Blip2Captioner

    return Blip2Captioner(config, device=device, threads=threads)


def describe_captioner(config: CaptionSettings) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: weights are missing.
    """
    from labelgen.semantics.blip2 import describe_blip2

    return describe_blip2(config.caption_model, config.caption_checkpoint)[1]
