"""Reading weights from files that nobody has checked yet."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from labelgen.core.errors import UserError
from labelgen.io.magic import HEAD, ZIP, kind_of


def read_state_dict(path: Path, leave_out: Collection[str] = ()) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or from a torch file (never executing what is in it).

    Args:
        path: of the file.
        leave_out: entries that are no weights.

    Raises:
        UserError: the file is missing, truncated, or holds something else; the message names it.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist; `labelgen models prefetch` fetches public ones")
    state: Any
    if path.suffix == ".safetensors":
        try:
            state = load_file(path)
        except (SafetensorError, ValueError, OSError, KeyError) as error:
            raise UserError(f"checkpoint {path} {why_unreadable(path, error)}") from None
    else:
        state = load_plain(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if isinstance(state, Mapping):
        state = {key: value for key, value in state.items() if key not in leave_out}
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        keys = f" of {', '.join(map(repr, list(state)[:4]))}" if isinstance(state, Mapping) else ""
        raise UserError(
            f"checkpoint {path} holds a {type(state).__name__}{keys[:200]}, not a state dict of tensors"
        )
    return dict(state)


def load_plain(path: Path, *, mapped: bool = False) -> Any:
    """Read a torch file of tensors and plain values; nothing that is in it is executed.

    Args:
        path: of the file.
        mapped: leave the tensors on the disk until they are used.

    Raises:
        UserError: it cannot be read; says what it is. Torch's own words advise to execute what is in it.
    """
    if compressed := _compressed(path):
        raise UserError(f"checkpoint {path} {compressed}")
    try:
        with warnings.catch_warnings(action="ignore"):  # that a TorchScript archive is one is said below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # what malformed pickles raise is not foreseeable
        if mapped and "mmap can only be used" in str(error):  # files of torch before 1.6
            return load_plain(path)
        raise UserError(f"checkpoint {path} {why_unreadable(path, error)}") from None


def why_unreadable(path: Path, error: BaseException | None = None) -> str:
    """What is wrong with a file of weights, to stand after its name.

    Args:
        path: of the file.
        error: that its reader raised; without it, only what the file itself tells counts, else it is empty.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as problem:
        return f"cannot be read: {problem.strerror}"
    kind = kind_of(head)
    if not head:
        return "is empty; fetch it again"
    if kind and kind != ZIP:
        return f"holds no weights: it is {kind}; fetch it again"
    if kind == ZIP:
        names = _zip_names(path)
        if names is None:
            return "cannot be read: it is truncated; fetch it again"
        if not any(name.endswith("data.pkl") for name in names):
            return "holds no weights: it is a ZIP archive of something else; unpack it"
        if any(name.endswith("constants.pkl") for name in names):
            return (
                "is a TorchScript archive, code with weights, which is not run; write its weights alone: "
                f"torch.save(torch.jit.load({path.name!r}, 'cpu').state_dict(), 'weights.pt')"
            )
    if error is None:
        return ""
    said = " ".join(str(error).split())
    if "weights_only" in said.lower().replace(" ", "_"):
        found = re.search(r"GLOBAL ([\w.]+)", said)
        what = f" ({found[1][:80]})" if found else ""
        return f"holds objects other than tensors{what}, which could run code and are not loaded"
    return f"cannot be read, fetch it again: {said[:200] or type(error).__name__}"


def _compressed(path: Path) -> str:
    """What is wrong with an archive that is compressed: torch's are not, and it may unpack to anything."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""
    if size <= path.stat().st_size:
        return ""
    return f"of {path.stat().st_size} bytes unpacks to {size}, and torch compresses nothing; fetch it again"


def _zip_names(path: Path) -> list[str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None


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
