"""Reading weights from files that nobody has checked yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from labelgen.errors import UserError


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or from a torch file (never executing what is in it).

    Raises:
        UserError: the file is missing, truncated, or holds something else; the message names it.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise UserError(f"checkpoint {path} cannot be read, fetch it again: {_first_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError and what malformed pickles raise besides
        raise UserError(f"checkpoint {path} is not a file of plain weights: {_first_line(error)}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"checkpoint {path} holds a {type(state).__name__}, not a state dict of tensors")
    return dict(state)


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path, architecture: str) -> None:
    """Load a state dict into a model; every key and shape must agree.

    Raises:
        UserError: naming the file, the architecture and the first keys that are missing, unexpected or
            of another shape.
    """
    expected = model.state_dict()
    faults = []
    if missing := [key for key in expected if key not in state]:
        faults.append(f"{len(missing)} of {len(expected)} keys are missing, first {missing[0]}")
    if unexpected := [key for key in state if key not in expected]:
        faults.append(f"{len(unexpected)} keys are unexpected, first {unexpected[0]}")
    for key, value in state.items():
        if key in expected and value.shape != expected[key].shape:
            faults.append(f"{key} has shape {tuple(value.shape)}, expected {tuple(expected[key].shape)}")
            break
    if faults:
        raise UserError(f"checkpoint {path} does not fit {architecture}: {'; '.join(faults)}")
    model.load_state_dict({key: value.to(expected[key].dtype) for key, value in state.items()})


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
