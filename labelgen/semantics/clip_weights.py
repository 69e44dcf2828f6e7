"""Which weights a CLIP is made of, and what to record about them; without torch, since drivers ask for it."""

from __future__ import annotations

import pickle
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError

from labelgen.errors import UserError
from labelgen.models.info import ModelInfo, file_hash
from labelgen.models.shipped import LICENCE, NOTE, TRAINING_FILE, shipped_dir, shipped_revision

#: open_clip's first choice among the files of a ``local-dir:``.
DIRECTORY_WEIGHTS = "open_clip_model.safetensors"
#: What open_clip, torch and the hub raise on files that they cannot use.
FAULTS = (RuntimeError, ValueError, OSError, EOFError, KeyError, SafetensorError, pickle.UnpicklingError)


def describe_open_clip(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Path of a CLIP's weights, and what to record about it, without loading it.

    Args:
        model: ``demo`` (shipped) or an open_clip architecture.
        checkpoint: path of the weights, an open_clip pretrained tag, or a folder as open_clip writes it
            (``open_clip_config.json`` beside ``open_clip_model.safetensors``); None for ``demo``.

    Returns:
        The folder or file of the weights (fetched first if it is a tag), and what to record.

    Raises:
        UserError: unknown architecture, no checkpoint given, or one that cannot be had; names it.
    """
    folder = weights_folder(model, checkpoint)
    if folder is not None:
        path, shipped = folder / DIRECTORY_WEIGHTS, (folder / TRAINING_FILE).is_file()
        if not path.is_file():
            raise UserError(f"checkpoint folder {folder} holds no {DIRECTORY_WEIGHTS}")
    else:
        path, shipped = _public_weights(model, checkpoint), False
    public = f"{checkpoint}, open_clip {version('open_clip_torch')}"
    return folder or path, ModelInfo(
        name=f"open_clip:{model}",
        revision=shipped_revision(folder) if shipped and folder else public,
        licence=LICENCE if shipped else "see the publisher of the weights",
        weights=file_hash(path),
        note=NOTE if shipped else "",
    )


def weights_folder(model: str, checkpoint: str | None) -> Path | None:
    """The folder that holds a CLIP with its configuration; None for one of open_clip's architectures."""
    if checkpoint:
        return Path(checkpoint) if Path(checkpoint).is_dir() else None
    return shipped_dir("clip") if model == "demo" else None


def _public_weights(model: str, checkpoint: str | None) -> Path:
    import open_clip

    if model not in open_clip.list_models():
        raise UserError(f"semantics.model={model!r} is neither demo nor an architecture of open_clip")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    if checkpoint is None:
        raise UserError(
            f"semantics.model={model} needs semantics.checkpoint: a path, or one of the tags {tags}"
        )
    if Path(checkpoint).is_file():
        return Path(checkpoint)
    tag = open_clip.pretrained.get_pretrained_cfg(model, checkpoint)
    if not tag:
        raise UserError(f"checkpoint {checkpoint} is neither a file nor a tag of {model}; tags: {tags}")
    if bool(tag.get("quick_gelu")) != bool(open_clip.get_model_config(model).get("quick_gelu")):
        other = model.removesuffix("-quickgelu") + ("-quickgelu" if tag.get("quick_gelu") else "")
        raise UserError(f"the weights {checkpoint} were trained as {other}: set semantics.model={other}")
    try:
        return Path(open_clip.pretrained.download_pretrained(tag))
    except FAULTS as error:
        raise UserError(f"weights {checkpoint} of {model} cannot be fetched: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """What an exception says, in one bounded line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
