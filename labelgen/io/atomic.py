"""Publishes files whole or not at all: create-if-absent, replace, and flushing to disk."""

from __future__ import annotations

import errno
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labelgen.core.errors import UserError

#: Ending of files that are being written; readers ignore them, ``verify --clean`` removes old ones.
PARTIAL = ".partial"
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def create(path: Path, data: bytes) -> bool:
    """Create a file with all its content, unless it exists.

    Of several processes that do this at the same time, exactly one succeeds, and nobody ever sees half
    a file: the content is flushed to disk under another name first, then linked to the final one.

    Returns:
        False if the file exists already; it is left as it is.

    Raises:
        UserError: if the file system has no hard links.
    """
    temporary = _write_beside(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _NO_HARD_LINKS:
            raise UserError(
                f"{path.parent}: this file system has no hard links, which publishing needs; "
                "choose an output folder on another one"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)
    return True


def replace(path: Path, data: bytes) -> None:
    """Write a file with all its content over what is there; for files that can be derived again."""
    temporary = _write_beside(path, data)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def flush(path: Path) -> None:
    """Force one file or one folder's list of names to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(root: Path) -> None:
    """Force all files and folders below ``root``, and its own name, to disk."""
    paths = [root.parent]
    for folder, _, names in os.walk(root):
        paths.append(Path(folder))
        paths.extend(Path(folder, name) for name in names)
    # Several at a time: a journaling file system commits those that wait together in one go.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(flush, paths))


def _write_beside(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
