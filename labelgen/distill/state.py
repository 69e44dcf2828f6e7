"""The state of a training on disk: saved whole or not at all, read without executing anything."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from labelgen.core.errors import UserError
from labelgen.core.settings_reading import checked
from labelgen.distill.config import TrainConfig
from labelgen.distill.registry import METHODS, NETWORKS, network_of
from labelgen.models.checkpoints import load_plain, load_weights, read_state_dict

STATE, WEIGHTS = "state.pt", "model.safetensors"
_CONFIG, _CLASSES, _PACKAGES = "labelgen.config", "labelgen.classes", "labelgen.packages"


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state.pt`` under another name first, so that a kill leaves the last one whole."""
    part = folder / f".{STATE}.{uuid.uuid4().hex}"
    torch.save(dict(state), part)
    os.replace(part, folder / STATE)


def read_state(folder: Path, digest: str) -> dict[str, Any] | None:
    """Read ``state.pt`` of the same training; None if there is none.

    Raises:
        UserError: damaged, or of a training with other settings.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = load_plain(path)
        found = state["digest"]
    except (UserError, LookupError, TypeError) as error:
        reason = error if isinstance(error, UserError) else f"{path} is not a saved training state"
        raise UserError(f"{reason}; remove it to train from the start") from None
    if found != digest:
        raise UserError(f"{folder} holds a training with other settings or frames; choose another --output")
    return dict(state)


def save_model(path: Path, weights: Mapping[str, Tensor], config: TrainConfig, classes: list[str]) -> None:
    """Write weights with what is needed to build the network again.

    Args:
        path: a ``.safetensors`` file.
        weights: of a `Model`.
        config: that it was made with.
        classes: names in the order of the outputs.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    metadata = {_CONFIG: config.model_dump_json(), _CLASSES: json.dumps(classes)}
    packages = [METHODS.package(config.method), NETWORKS.package(network_of(config.backbone)[0])]
    if any(packages):
        metadata[_PACKAGES] = json.dumps(packages)
    save_file(content, part, metadata)
    os.replace(part, path)


def read_model(path: Path) -> tuple[dict[str, Tensor], TrainConfig, list[str]]:
    """What `save_model` wrote.

    Args:
        path: the file, or the folder of a training that is done.

    Raises:
        UserError: missing, damaged, or weights of something else; or its network is of a package that is not
            installed.
    """
    path = weights_file(path)
    weights = read_state_dict(path)
    metadata = _metadata(path)
    config = checked(TrainConfig, metadata[_CONFIG], str(path))
    NETWORKS.require(network_of(config.backbone)[0], metadata[_PACKAGES][1:], str(path))
    return weights, config, [str(name) for name in metadata[_CLASSES]]


def check_method(path: Path, config: TrainConfig) -> None:
    """Refuse a checkpoint whose method is needed, and is of a package that is not installed.

    Args:
        path: as of `read_model`.
        config: that it was made with.

    Raises:
        UserError: names the package.
    """
    path = weights_file(path)
    METHODS.require(config.method, _metadata(path)[_PACKAGES][:1], str(path))


def _metadata(path: Path) -> dict[str, Any]:
    """What stands beside the weights; `_PACKAGES` are those of the method and the network, empty for ours."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        found = {name: json.loads(metadata[name]) for name in (_CONFIG, _CLASSES)}
        packages = json.loads(metadata.get(_PACKAGES, "[]"))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a network of `labelgen train`: {error}") from error
    return found | {_PACKAGES: packages if isinstance(packages, list) else []}


def weights_file(path: Path) -> Path:
    """The file of a checkpoint that is given as a file or as a training's folder."""
    return path / WEIGHTS if path.is_dir() else path


def load_backbone(backbone: nn.Module, config: TrainConfig, path: Path) -> None:
    """Start a backbone from another training's, whatever method it had.

    Args:
        backbone: to be loaded.
        config: that it was made with.
        path: of the checkpoint.

    Raises:
        UserError: the checkpoint is of another backbone (names the first difference).
    """
    weights, source, _ = read_model(path)
    prefix = "backbone."
    own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    if source.backbone != config.backbone:
        raise UserError(
            f"checkpoint {weights_file(path)} is of backbone {source.backbone}, not {config.backbone}; "
            f"set backbone={source.backbone}"
        )
    load_weights(backbone, own, weights_file(path), config.backbone)


def load_head(method: nn.Module, path: Path, classes: list[str]) -> bool:
    """Start a head from another training's, where shapes and classes are the same.

    Returns:
        Whether it was.
    """
    weights, _, theirs = read_model(path)
    prefix = "method."
    own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    expected = {name: value.shape for name, value in method.state_dict().items()}
    if theirs != classes or {name: value.shape for name, value in own.items()} != expected:
        return False
    method.load_state_dict(own)
    return True
