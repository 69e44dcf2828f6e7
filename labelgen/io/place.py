"""Where a run lives: the store of a folder or of an address, and places beside it."""

from __future__ import annotations

import re
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.io.local import LocalStore
from labelgen.io.store import Store, is_address

#: Also as a `Path` writes it, which makes one slash of two.
_URL = re.compile(r"^(s3|gs|gcs):/+([^/]+)(/.*)?$")
_BUCKET = re.compile(r"[\w.-]+", re.ASCII)


def open_store(run: Path | str | Store) -> Store:
    """The store of a run.

    Args:
        run: a folder, ``s3://bucket/folder``, ``gs://bucket/folder``, or a store, which is given back.

    Raises:
        UserError: what reads object stores is not installed, or an address of another kind.
    """
    if not isinstance(run, Path | str):
        return run
    if match := _URL.match(str(run)):
        from labelgen.io.remote import RemoteStore

        scheme, bucket, path = match.groups()
        if not _BUCKET.fullmatch(bucket) or "?" in (path or ""):
            raise UserError(
                f"{run}: a run's address names only a bucket and a folder; credentials belong in the "
                f"environment"
            )
        scheme = "gs" if scheme == "gcs" else scheme
        return RemoteStore(f"{scheme}://{bucket}{(path or '').rstrip('/')}")
    if is_address(run):
        raise UserError(f"{run}: a run is stored in a folder, at s3://bucket/folder or at gs://bucket/folder")
    return LocalStore(Path(run))


def absolute(run: Path | str | Store) -> str:
    """How a process in another folder, or on another machine, names the run."""
    store = open_store(run)
    return str(store.folder.absolute()) if isinstance(store, LocalStore) else store.url


def named_after(run: Path | str | Store, ending: str) -> str:
    """A place beside a run, with an ending to its name."""
    store = open_store(run)
    folder = store.folder
    if isinstance(store, LocalStore) and folder.name in ("", ".."):
        return f"{folder.resolve()}{ending}"
    return f"{store.url}{ending}"


def put_file(place: Path | str, data: bytes) -> None:
    """Write one file, in place of what is there, at a path or an address; nobody sees half of it.

    Folders that are missing are made.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(place)
    store = open_store(path.parent)
    if isinstance(store, LocalStore):
        store.folder.mkdir(parents=True, exist_ok=True)
    store.replace(path.name, data)
