"""What a run asks of the place where it lives: files by key below one folder."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from labelgen.core.errors import UserError

_ANY_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(/|$)")
#: A part of a key: no name of this folder or the one above, no backslash, nothing that terminals obey.
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_LONGEST_KEY = 1024


class StoreError(UserError, OSError):
    """An object store that cannot be reached, or refuses: that says nothing of the files in it.

    An `OSError` to those who know what to do then; to all others what ends the command.
    """

    remedy = "try again when the store can be reached"

    def as_given(self) -> str:
        """File, what the store said, and what to do."""
        if self.strerror is None:  # a DataLoader makes its worker's error anew from the text alone
            return " ".join(map(str, self.args))
        return f"{self.filename}: {self.strerror}; {self.remedy}"


class LostReplyError(StoreError):
    """An object store did not say whether it wrote a file."""


class OutsideError(StoreError):
    """A key that leads out of the run's folder, by its name or through a link."""

    remedy = "nothing there was read or changed; remove what names it"


class AccessError(StoreError, PermissionError):
    """An object store that does not let us in."""

    remedy = "check the credentials in the environment"


@runtime_checkable
class Store(Protocol):
    """A run's folder. Keys are paths relative to it, with ``/``; what cannot be done raises `OSError`.

    A key that is no plain path below the folder (see `checked_key`) raises `OutsideError`, and so do writing,
    moving and removing what lies behind a link out of it. `beside` is the only way to another run.

    Attributes:
        url: how messages name the run.
        folder: the run's folder, or the local mirror of a remote one.
    """

    url: str
    folder: Path

    def prepare(self) -> None:
        """Make what must be there before a run is written, in its folder, which must be there."""

    def read(self, key: str, limit: int | None = None) -> bytes:
        """The content of a file, at most ``limit`` bytes of it; `FileNotFoundError` if it is not there."""

    def read_all(self, keys: list[str], limit: int | None = None) -> list[bytes | OSError]:
        """As `read`, for many files at once; an error takes the place of a content."""

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""

    def children(self, folder: str) -> list[str]:
        """Names of the files and folders directly below a folder, sorted; none if it is not there."""

    def sizes(self, folder: str) -> dict[str, int]:
        """{path relative to ``folder``: bytes} of all files below it."""

    def inside(self, key: str) -> bool:
        """False for a link that leads out of the run's folder."""

    def changed(self, key: str) -> float:
        """Time (seconds since 1970) of the newest change of a file, or of anything below a folder."""

    def open(self, key: str, size: int) -> int:
        """A descriptor of a local file with the content, to be closed by the caller.

        Args:
            key: of a file that never changes.
            size: that it should have; a local copy of another size is fetched anew.
        """

    def forget(self, key: str) -> bool:
        """Throw a local copy of a file away, so that `open` fetches it anew; False if there is none."""

    def fetch(self, folder: str, files: Iterable[tuple[str, int]]) -> Path:
        """A local folder that holds such files (path below ``folder``, size) of one that never changes."""

    def beside(self, path: str) -> str:
        """Where another run is that is named by an absolute path, or by one relative to this run's folder.

        Where the folder is a link, what lies beside the link comes first, then what lies where it leads.
        """

    def path_to(self, other: Store) -> str:
        """The path that `beside` takes to another run: relative where both can be moved together."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a file unless it is there; of several who try, one succeeds, and nobody sees half of it."""

    def replace(self, key: str, data: bytes) -> None:
        """Write a file over what is there, its folder too; for what can be derived again.

        The run's own folder must be there: one that was removed meanwhile does not come back in parts.
        """

    def move(self, key: str, to: str) -> bool:
        """Give a file another name that does not exist yet; False if it is not there."""

    def remove(self, key: str) -> None:
        """Remove a file, or a folder with everything in it; no error if it is not there."""

    def staging(self) -> AbstractContextManager[Path]:
        """A local folder to build new folders in, below the names that they are to get."""

    def keep(self, root: Path, key: str) -> None:
        """Bring the complete folder ``root / key`` to where it stays; it may not be there yet."""


def checked_key(key: str, *, top: bool = False) -> str:
    """A key, if it is a plain path below a run's folder.

    Args:
        key: parts between slashes, none empty, ``.`` or ``..``; without backslashes and control characters.
        top: whether the folder itself, the empty key, will do.

    Raises:
        OutsideError: it is something else.
    """
    if (top and not key) or (len(key) <= _LONGEST_KEY and _KEY.fullmatch(key)):
        return key
    raise OutsideError(errno.EINVAL, "not a valid file name in a run's folder", ascii(key[:80]))


def is_address(place: Path | str) -> bool:
    """Whether this names something in an object store, or on some other host, and no file here."""
    return _ANY_URL.match(str(place)) is not None
