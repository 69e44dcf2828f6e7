"""Models of the hub: from the cache, or else fetched; a hub that cannot be reached is reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download, snapshot_download, try_to_load_from_cache

from labelgen.core.errors import UserError
from labelgen.core.text_files import read_json

#: What is fetched from a hub: no pickled weights, no code.
FETCHED = ("*.json", "*.txt", "*.safetensors")
#: Seconds in which a server must answer before anything is fetched from it.
PATIENCE_S = 10.0


def hub_folder(model: str, setting: str) -> Path:
    """Folder of a model as transformers writes it.

    Args:
        model: its name on the hub.
        setting: that takes the path of such a folder instead, for the message.

    Raises:
        UserError: it is not here and cannot be fetched.
    """
    if (folder := cached_folder(model)) is not None:
        return folder
    with fetching(f"model {model!r}", setting):
        return Path(snapshot_download(model, allow_patterns=list(FETCHED)))


def cached_folder(model: str) -> Path | None:
    """Folder of a model of the hub that is whole and on this machine; None if there is none."""
    try:
        folder = Path(snapshot_download(model, allow_patterns=list(FETCHED), local_files_only=True))
    except Exception:  # no such name, not here, a damaged cache: what it raises says no more
        return None
    return folder if (folder / "config.json").is_file() and weight_files(folder) else None


def weight_files(folder: Path) -> list[Path]:
    """The ``*.safetensors`` that transformers loads from a folder; empty if one of them is missing.

    Files of other names, such as hidden ones and second downloads, are not among them.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    try:
        names = sorted(set(read_json(index, "index of weights")["weight_map"].values()))
        paths = [folder / Path(name).name for name in names]
    except (UserError, KeyError, TypeError, AttributeError):
        return []
    return paths if all(path.is_file() for path in paths) else []


def hub_file(repository: str, names: tuple[str, ...], what: str, setting: str) -> Path:
    """One file of a repository of the hub: the first of some names that is there.

    Raises:
        UserError: none is here, and none can be fetched.
    """
    for name in names:
        if isinstance(cached := try_to_load_from_cache(repository, name), str):
            return Path(cached)
    with fetching(what, setting):
        for name in names[:-1]:
            try:
                return Path(hf_hub_download(repository, name))
            except Exception:
                continue  # the last one's error tells
        return Path(hf_hub_download(repository, names[-1]))


@contextmanager
def fetching(what: str, setting: str, server: str = "") -> Iterator[None]:
    """Ask a server whether it is there, before a library tries again and again; then explain its errors.

    Args:
        what: is fetched.
        setting: that takes a path instead.
        server: address of a file; empty for the hub.

    Raises:
        UserError: no answer, or the fetching failed.
    """
    try:
        if not server and constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        get_session().head(server or constants.ENDPOINT, timeout=PATIENCE_S)
        yield
    except Exception as error:  # whatever clients of networks raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{what} is not on this machine and cannot be fetched ({reason}): run `labelgen models prefetch` "
            f"where there is a network, or name a path: --set {setting}=/path"
        ) from error
