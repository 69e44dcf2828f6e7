"""Which mode a configuration means, and which are refused; without torch, since drivers ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labelgen.core.errors import UserError
from labelgen.core.text_files import read_json
from labelgen.semantics.clip_weights import weights_folder
from labelgen.semantics.settings import OpenClipSettings

Mode = Literal["crop", "maskclip", "naclip", "maskattn", "pool"]


@dataclass(frozen=True)
class Family:
    """Architectures that end in the same way.

    Attributes:
        auto: the mode that suits them best.
        modes: dense modes that they have; the first one's map stands in where a mode has none of its own.
        reason: why they have no others.
    """

    auto: Mode
    modes: tuple[Mode, ...]
    reason: str = ""


VIT = Family("maskattn", ("naclip", "maskclip", "maskattn", "pool"))
#: `crop` is what the small CLIP was trained for; see the table in docs/semantics.md.
RESNET = Family(
    "crop",
    ("maskclip", "maskattn", "pool"),
    "the keys of its attention pool were trained for one query, the image's mean, and do not match "
    "those of similar patches",
)
AVERAGED = Family(
    "pool",
    ("pool",),
    "its image feature is the mean of its cells, so there is no attention at its end to change",
)
OTHER = Family(
    "crop",
    (),
    "a learnt query or a token of an unknown kind pools its patches, which are not in the texts' space "
    "themselves; those of transformers with a class token, of OpenAI's ResNets and of ConvNeXt are",
)
#: Settings of open_clip under which a transformer's blocks are of another kind.
OTHER_BLOCKS = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")


def family_of(vision: Mapping[str, Any]) -> Family:
    """The family of an architecture.

    Args:
        vision: ``vision_cfg`` of its open_clip configuration.
    """
    if name := vision.get("timm_model_name"):
        averaged = str(name).startswith("convnext") and vision.get("timm_pool", "avg") in ("", "avg")
        return AVERAGED if averaged else OTHER
    if isinstance(vision.get("layers"), list | tuple):
        return RESNET
    custom = vision.get("block_type", "default") == "custom" or any(map(vision.get, OTHER_BLOCKS))
    pool = vision.get("pool_type", "tok")
    if vision.get("attentional_pool") or custom or pool not in ("tok", "avg"):
        return OTHER
    return VIT if pool == "tok" else AVERAGED


def choose_mode(family: Family, config: OpenClipSettings) -> Mode:
    """The mode that a configuration means.

    Raises:
        UserError: it makes no sense for the architecture; says why, and what does.
    """
    if config.assignment == "rsa" and not family.modes:
        raise UserError(f"semantics.assignment=rsa is not possible with {config.model}: {family.reason}")
    if config.mode == "auto":
        return family.auto
    if config.mode != "crop" and config.mode not in family.modes:
        raise UserError(
            f"semantics.mode={config.mode} is not possible with {config.model}: {family.reason}; "
            f"use {' or '.join(('crop', *family.modes))}"
        )
    return config.mode


def settle_mode(config: OpenClipSettings) -> OpenClipSettings:
    """The configuration with the mode that ``auto`` stands for.

    Args:
        config: with a model that `labelgen.semantics.clip_weights.describe_open_clip` knows.

    Raises:
        UserError: see `choose_mode`; or a folder without a readable configuration.
    """
    folder = weights_folder(config.model, config.checkpoint)
    if folder is None:
        import open_clip

        content = open_clip.get_model_config(config.model)
    else:
        content = _model_cfg(folder / "open_clip_config.json")
    return config.model_copy(update={"mode": choose_mode(family_of(content["vision_cfg"]), config)})


def _model_cfg(path: Path) -> dict[str, Any]:
    found = read_json(path, "model configuration")
    content = found.get("model_cfg") if isinstance(found, dict) else None
    if not isinstance(content, dict) or not isinstance(content.get("vision_cfg"), dict):
        raise UserError(f"{path} holds no model_cfg with a vision_cfg, as open_clip writes them")
    return content
