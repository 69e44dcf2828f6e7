"""Models as transformers writes them: a folder, or a name on the hub; checked before and after loading."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from torch import nn

from labelgen.errors import UserError
from labelgen.models.info import file_hash

#: What is fetched from a hub: no pickled weights, no code.
FETCHED = ("*.json", "*.txt", "*.safetensors")
#: What transformers, safetensors and torch raise on files that they cannot use.
FAULTS = (RuntimeError, ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, SafetensorError)


def pretrained_folder(model: str, checkpoint: str | None, kinds: tuple[str, ...]) -> tuple[Path, str]:
    """Folder of a model, fetched first if it is only on the hub, and the hash of its weights.

    Args:
        model: its name on the hub.
        checkpoint: folder with ``config.json`` and ``*.safetensors``; None for the hub's.
        kinds: what ``config.json`` may name as ``model_type``.

    Raises:
        UserError: no such folder or model, files are missing, or another kind of model.
    """
    if checkpoint is not None:
        folder = Path(checkpoint)
        if not folder.is_dir():
            raise UserError(f"checkpoint {folder} is not a folder as transformers writes it")
    else:
        try:
            folder = Path(snapshot_download(model, allow_patterns=list(FETCHED)))
        except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
            raise UserError(f"model {model!r} cannot be fetched from the hub: {first_line(error)}") from error
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"checkpoint folder {folder} holds no *.safetensors; other formats are not read")
    try:
        kind = json.loads((folder / "config.json").read_text()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"checkpoint folder {folder}: config.json cannot be read: {first_line(error)}"
        ) from None
    if kind not in kinds:
        raise UserError(f"checkpoint folder {folder} holds a model of type {kind!r}, not {kinds[0]}")
    digest = hashlib.blake2b(digest_size=16)
    for path in weights:
        digest.update(file_hash(path).encode())
    return folder, file_hash(weights[0]) if len(weights) == 1 else digest.hexdigest()


def is_fetched(model: str) -> bool:
    """Whether a model of the hub is on this machine."""
    try:
        snapshot_download(model, allow_patterns=list(FETCHED), local_files_only=True)
    except (OSError, ValueError, HfHubHTTPError, HFValidationError):
        return False
    return True


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
        raise UserError(
            f"checkpoint folder {folder} cannot be loaded as {network.__name__}: {first_line(error)}"
        ) from error
    missing = sorted(report["missing_keys"])  # transformers would fill them with random numbers
    if missing:
        raise UserError(f"{len(missing)} weights are missing from {folder}, first {missing[0]}")
    ready: nn.Module = loaded.eval()
    return ready


def first_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
