"""Models as transformers writes them: a folder, or a name on the hub; checked before and after loading."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from labelgen.core.errors import UserError
from labelgen.core.text_files import read_json
from labelgen.core.wording import brief
from labelgen.models.checkpoints import why_unreadable
from labelgen.models.hub import hub_folder, weight_files
from labelgen.models.info import file_hash

#: What transformers, safetensors and torch raise on files that they cannot use.
FAULTS = (RuntimeError, ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, SafetensorError)


def pretrained_folder(
    model: str, checkpoint: str | None, kinds: tuple[str, ...], setting: str
) -> tuple[Path, str]:
    """Folder of a model, fetched first if it is only on the hub, and the hash of its weights.

    Args:
        model: its name on the hub.
        checkpoint: folder with ``config.json`` and ``*.safetensors``; None for the hub's.
        kinds: what ``config.json`` may name as ``model_type``.
        setting: that gives the checkpoint, for messages.

    Raises:
        UserError: no such folder or model, files are missing, or another kind of model.
    """
    if checkpoint is None:
        folder = hub_folder(model, setting)
    elif not (folder := Path(checkpoint)).is_dir():
        raise UserError(f"checkpoint {folder} is not a folder as transformers writes it ({setting})")
    weights = weight_files(folder)
    if not weights:
        raise UserError(
            f"checkpoint folder {folder} holds no model.safetensors, whole or in the parts of its index; "
            "other formats are not read"
        )
    content = read_json(folder / "config.json", "model configuration")
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in kinds:
        raise UserError(f"checkpoint folder {folder} holds a model of type {brief(kind)}, not {kinds[0]}")
    hashes = [file_hash(path) for path in weights]
    if len(hashes) == 1:
        return folder, hashes[0]
    return folder, hashlib.blake2b("".join(hashes).encode(), digest_size=16).hexdigest()


def load_pretrained(network: Any, folder: Path) -> nn.Module:
    """Load a network in float32 with transformers' ``from_pretrained``; every weight must be there.

    Raises:
        UserError: damaged files, or weights that are missing or of another shape.
    """
    try:
        loaded, report = network.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except FAULTS as error:
        raise unusable(folder, network.__name__, error) from error
    missing = sorted(report["missing_keys"])  # transformers would fill them with random numbers
    if missing:
        raise UserError(f"{len(missing)} weights are missing from {folder}, first {missing[0]}")
    ready: nn.Module = loaded.eval()
    return ready


def unusable(folder: Path, kind: str, error: BaseException) -> UserError:
    """Why a folder cannot be loaded: a file in it that is none of weights, or what transformers says."""
    for path in weight_files(folder):
        if problem := why_unreadable(path):
            return UserError(f"checkpoint {path} {problem}")
    return UserError(f"checkpoint folder {folder} cannot be loaded as {kind}: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
