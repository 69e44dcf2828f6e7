"""Temporary folders: private, and removed with their process, or by the next call if it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How the names of folders in the system's temporary folder begin.
PREFIX = "labelgen-"


@contextmanager
def scratch(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """A new folder that nobody but this user may enter; it is removed at the end of the block.

    A process that is killed leaves it behind. That it is dead is seen by a lock that ended with it: the next
    one that makes such a folder, or calls `sweep`, removes it.

    Args:
        parent: where to make it; the system's temporary folder by default.
        prefix: that its name begins with.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    sweep(place, prefix)
    while (made := _make(place, prefix)) is None:
        pass
    folder, lock = made
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def keep(folder: Path, name: Path) -> None:
    """Give a scratch folder the name under which it stays, readable for others; an empty one may have it.

    Raises:
        OSError: a folder of that name is not empty, or it cannot be renamed.
    """
    folder.chmod(0o755)
    if name.exists():
        name.rmdir()
    folder.rename(name)


def sweep(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Remove what `scratch` made for processes of this user and machine that are dead.

    Args:
        parent: where to look; the system's temporary folder and those that Ray may take by default.
        prefix: as for `scratch`.
    """
    usual = (tempfile.gettempdir(), os.environ.get("RAY_TMPDIR", "/tmp"), "/tmp")
    for place in dict.fromkeys(usual if parent is None else (str(parent),)):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(_named(prefix)):
                    with contextlib.suppress(OSError):
                        _remove_if_dead(entry.path)


def _make(place: Path, prefix: str) -> tuple[Path, int] | None:
    """A new folder and its lock; None if somebody swept it away before it was locked."""
    folder = Path(tempfile.mkdtemp(prefix=_named(prefix), dir=place))  # with mode 0700
    try:
        lock = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # a file system without locks: then nobody takes it for dead
        fcntl.flock(lock, fcntl.LOCK_EX)
    if folder.exists():
        return folder, lock
    os.close(lock)
    return None


def _remove_if_dead(folder: str) -> None:
    """Raises `OSError` if its process lives, or it is no folder."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _named(prefix: str) -> str:
    """The beginning of a name that tells machines apart: a lock may hold on one of them only."""
    return f"{prefix}{hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()}-"
