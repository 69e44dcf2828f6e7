"""Paths that come from tables and manifests: checked, then read as plain files below the data root."""

from __future__ import annotations

import hashlib
import re
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from labelgen.core.errors import FrameError
from labelgen.io.retry import patiently

#: Matches every path that may leave the data root or that no data set would write (RE2 and Python syntax).
UNSAFE_PATH = r"^$|^/|^[A-Za-z]:|(^|/)\.\.(/|$)|[\x00-\x1f\x7f\\]"
#: Matches every id of a frame or scene that cannot stand in file names.
UNSAFE_ID = r"^$|^[^A-Za-z0-9]|[^A-Za-z0-9._+@=-]|.{65}"

_UNSAFE_PATH = re.compile(UNSAFE_PATH)
_UNSAFE_ID = re.compile(UNSAFE_ID)


def is_safe_path(path: str) -> bool:
    """Whether a path is relative, stays below its root and holds no backslash or control character.

    The check is made on the text alone. Links inside the data root are followed wherever they lead: people
    spread a data root over disks with links, and who can place a link there owns the data. What tables and
    manifests *say* is not trusted.
    """
    return _UNSAFE_PATH.search(path) is None


def is_safe_id(name: str) -> bool:
    """Whether a frame's or scene's id can stand in file names: 1 to 64 of ``A-Z a-z 0-9 . _ + @ = -``."""
    return _UNSAFE_ID.search(name) is None


def whole_name(path: str) -> str:
    """A relative path as the name of a file without its ending: ``a/b/c.png`` is ``a_b_c``."""
    return "_".join(PurePosixPath(path).with_suffix("").parts)


def file_names(paths: Iterable[str]) -> dict[str, str]:
    """{path: name of its own for files about it, without ending}.

    That is the file's own name; where several have it, `whole_name`; where that is not enough either, the
    path with everything escaped that a name cannot hold.
    """
    names: dict[str, str] = {}
    left = list(dict.fromkeys(paths))
    for name_of in (lambda path: PurePosixPath(path).stem, whole_name, lambda path: quote(path, safe="")):
        count = Counter([*names.values(), *map(name_of, left)])
        names |= {path: name_of(path) for path in left if count[name_of(path)] == 1}
        left = [path for path in left if path not in names]
    return names


def digest(data: bytes) -> str:
    """blake2b-128 of a file's bytes, in hex, as stored in ``FrameRecord.source_hashes``."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_file(root: Path, path: str, frame_id: str, limit: int, too_large: str = "") -> bytes:
    """Read one file below the data root; again after a while if the file system fails for a moment.

    Args:
        root: the data root.
        path: relative to it.
        frame_id: for the error.
        limit: bytes; a larger file is refused before it is read.
        too_large: what it means that the file is larger.

    Raises:
        FrameError: the path leaves the data root, or is no regular, readable file within the limit.
    """

    def refuse(problem: str) -> FrameError:
        return FrameError(problem, frame_id=frame_id, path=path)

    if not is_safe_path(path):
        raise refuse("the path leaves the data root; name files relative to it, without '..'")
    file = Path(root) / path

    def read() -> bytes:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise refuse("not a regular file")
        if found.st_size > limit:
            meaning = too_large or f"more than {limit} are not read"
            raise refuse(f"{found.st_size} bytes; {meaning}")
        return file.read_bytes()

    try:
        return patiently(read)
    except FileNotFoundError:
        problem = f"no such file below {root}; check the data root, or extract this part of the data set"
        raise refuse(problem) from None
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error}); check the disk and permissions"
        raise refuse(problem) from None
