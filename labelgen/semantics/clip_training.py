"""How the weights in a file were trained: which pixels and which activation they need.

A file of CLIP weights does not hold the mean and the deviation of its pixels, nor its activation. open_clip
gives both with a tag, and OpenAI's pixels to whatever comes from a file. What is not known is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from labelgen.core.errors import UserError
from labelgen.models.checkpoints import load_plain, why_unreadable

#: Entries beside the weights by which OpenAI's state dicts are known.
OPENAI_ENTRIES = frozenset({"input_resolution", "context_length", "vocab_size"})
QUICK_GELU = "-quickgelu"

_Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Training:
    """What a published training asks for.

    Attributes:
        mean, std: of the pixels, in 0..1.
        quick_gelu: OpenAI's activation; else the usual one.
    """

    mean: _Colour
    std: _Colour
    quick_gelu: bool


@cache
def trainings(model: str) -> dict[str, Training]:
    """{tag: training} of the published weights of an architecture, with either activation."""
    import open_clip

    base = model.removesuffix(QUICK_GELU)
    found = {}
    for name in (base, base + QUICK_GELU):
        for tag in open_clip.list_pretrained_tags_by_model(name):
            content = open_clip.pretrained.get_pretrained_cfg(name, tag)
            found[tag] = Training(
                tuple(content["mean"]), tuple(content["std"]), bool(content.get("quick_gelu"))
            )
    return found


def training_of_file(model: str, path: Path, told: str | None) -> tuple[str | None, Training | None]:
    """Which training the weights in a file are of.

    It is the one that is told; else the one that the file's place or its content shows; else the one that all
    published weights of the architecture agree on.

    Args:
        model: an architecture of open_clip.
        path: of the file.
        told: ``semantics.pretrained``.

    Returns:
        Its tag, None where that does not matter, and what it asks for; None if nothing was ever published for
        the architecture, so that open_clip's own defaults hold.

    Raises:
        UserError: it has to be told; or the file cannot be read.
    """
    known = trainings(model)
    if told is not None and told not in known:
        raise UserError(f"semantics.pretrained={told} is not a tag of {model}; tags: {_listed(known)}")
    tag = told or _tag_by_place(model, path) or ("openai" if _is_openai(path) else None)
    if tag is not None and (tag in known or told):
        return tag, known[tag]
    if len(set(known.values())) > 1:
        raise UserError(
            f"{path} does not say how it was trained, and weights of {model} differ in their pixels' mean "
            "and in their activation: name the open_clip tag that it holds or was fine-tuned from, "
            f"--set semantics.pretrained=TAG, one of {_listed(known)}"
        )
    return None, next(iter(known.values()), None)


def check_activation(model: str, training: Training, checkpoint: str) -> None:
    """Compare the activation that weights were trained with to the architecture's.

    Raises:
        UserError: the architecture has the other one; names the one to set.
    """
    import open_clip

    other = model.removesuffix(QUICK_GELU) + QUICK_GELU * training.quick_gelu
    wanted = bool(open_clip.get_model_config(model).get("quick_gelu"))
    if training.quick_gelu != wanted and other != model and other in open_clip.list_models():
        raise UserError(f"the weights {checkpoint} were trained as {other}: set semantics.model={other}")


def _tag_by_place(model: str, path: Path) -> str | None:
    """The tag whose file this is by its name, or by that of its repository (the hub's cache, or a clone).

    OpenAI's files have the names of architectures, under which others keep other weights.
    """
    import open_clip

    folders = {part.removeprefix("models--").split("--")[-1] for part in path.absolute().parts[:-1]}
    base = model.removesuffix(QUICK_GELU)
    for name in (base, base + QUICK_GELU):
        tags: list[str] = open_clip.list_pretrained_tags_by_model(name)
        for tag in tags:
            content = open_clip.pretrained.get_pretrained_cfg(name, tag)
            url, hub = content.get("url") or "", content.get("hf_hub") or ""
            repository = Path(hub.rpartition("/")[0]).name
            if repository in folders or (tag != "openai" and path.name == Path(url).name):
                return tag
    return None


def _is_openai(path: Path) -> bool:
    """Whether a file is a state dict as OpenAI's own code gives it."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return set(file.keys()) >= OPENAI_ENTRIES
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"checkpoint {path} {why_unreadable(path, error)}") from None
    if path.suffix in (".npz", ".npy"):  # big_vision's, which open_clip converts
        return False
    content: Any = load_plain(path, mapped=True)
    return isinstance(content, Mapping) and content.keys() >= OPENAI_ENTRIES


def _listed(known: Mapping[str, Training]) -> str:
    return ", ".join(known) or "none"
