"""Sources of meaning and captioners by name: how one is made, and what a run records about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labelgen.core.registry import Backends, Registry
from labelgen.models.backend import Backend, describe, make
from labelgen.models.info import ModelInfo
from labelgen.semantics.settings import CaptionSettings, GivenSettings, OpenClipSettings, SemanticSettings

if TYPE_CHECKING:
    from labelgen.semantics.base import Captioner, SemanticSource


def _make_open_clip(config: OpenClipSettings, device: str, threads: int) -> SemanticSource:
    from labelgen.semantics.openclip import OpenClipEncoder

    return OpenClipEncoder(config, device=device, threads=threads)


def _describe_open_clip(config: OpenClipSettings) -> ModelInfo:
    from labelgen.semantics.clip_weights import describe_open_clip

    return describe_open_clip(config.model, config.checkpoint, config.pretrained).info


def _make_given(config: GivenSettings, device: str, threads: int) -> SemanticSource:
    from labelgen.semantics.given import GivenSource

    return GivenSource(config)


def _describe_given(config: GivenSettings) -> ModelInfo:
    from labelgen.semantics.given import describe_given

    return describe_given(config)


#: All that ``semantics.backend`` may name.
SEMANTICS: Backends[Backend[SemanticSource]] = Backends(
    "semantic source",
    "labelgen.semantics",
    Backend,
    {
        "open_clip": Backend("any CLIP of open_clip", OpenClipSettings, _describe_open_clip, _make_open_clip),
        "given": Backend("classes that another 2D model wrote", GivenSettings, _describe_given, _make_given),
    },
)


def make_encoder(config: SemanticSettings, device: str = "auto", threads: int = 1) -> SemanticSource:
    """Make the backend that the configuration names.

    Raises:
        UserError: no such backend, weights are missing or faulty, or the device is not there.
    """
    return make(SEMANTICS, config.backend, config, device, threads)


def describe_encoder(config: SemanticSettings) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: no such backend, or weights are missing.
    """
    return describe(SEMANTICS, config.backend, config)


def settle_semantics(config: SemanticSettings) -> SemanticSettings:
    """The configuration with every ``auto`` replaced by what it stands for, without loading a model.

    So is ``pretrained`` for a file that says what it holds.

    Raises:
        UserError: settings that make no sense for the model.
    """
    if not isinstance(config, OpenClipSettings):
        return config
    from labelgen.semantics.clip_training import training_of_file
    from labelgen.semantics.modes import settle_mode

    if config.pretrained is None and config.checkpoint and Path(config.checkpoint).is_file():
        tag, _ = training_of_file(config.model, Path(config.checkpoint), None)
        config = config.model_copy(update={"pretrained": tag})
    return settle_mode(config)


def caption_settings(config: SemanticSettings) -> CaptionSettings | None:
    """How regions are captioned; None where they are not."""
    return config if isinstance(config, CaptionSettings) and config.captions != "none" else None


def _make_blip2(config: CaptionSettings, device: str, threads: int) -> Captioner:
    from labelgen.semantics.blip2 import Blip2Captioner

    return Blip2Captioner(config, device=device, threads=threads)


def _describe_blip2(config: CaptionSettings) -> ModelInfo:
    from labelgen.semantics.blip2 import describe_blip2

    return describe_blip2(config.caption_model, config.caption_checkpoint)[1]


#: All that ``semantics.captions`` may name, beside ``none``; they share the other settings of captions.
CAPTIONERS: Registry[Backend[Captioner]] = Registry(
    "captioner",
    "labelgen.captioners",
    Backend,
    {"blip2": Backend("BLIP-2", CaptionSettings, _describe_blip2, _make_blip2)},
)


def make_captioner(config: CaptionSettings, device: str = "auto", threads: int = 1) -> Captioner:
    """Make the captioner that the configuration names; BLIP-2 if it names none.

    Raises:
        UserError: no such captioner, weights are missing or faulty, or the device is not there.
    """
    return make(CAPTIONERS, _captioner_of(config), config, device, threads)


def describe_captioner(config: CaptionSettings) -> ModelInfo:
    """What to record about the captioner that the configuration names, without loading its model.

    Raises:
        UserError: no such captioner, or weights are missing.
    """
    return describe(CAPTIONERS, _captioner_of(config), config)


def _captioner_of(config: CaptionSettings) -> str:
    return "blip2" if config.captions == "none" else config.captions
