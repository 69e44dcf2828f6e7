"""Where a run lives: files by key below one folder, on a local disk or in an object store."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from labelgen.errors import UserError
from labelgen.shards import atomic

#: Also as a `Path` writes it, which makes one slash of two.
_URL = re.compile(r"^(s3|gs|gcs):/+([^/]+)(/.*)?$")
_BUCKET = re.compile(r"[\w.-]+", re.ASCII)
_ANY_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(/|$)")
#: A part of a key: no name of this folder or the one above, no backslash, nothing that terminals obey.
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_LONGEST_KEY = 1024
#: Bytes of the largest file that is read whole.
_LARGEST = 1 << 30
#: A pipe that stands where a file is expected is not waited for.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


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

    remedy = "look at the credentials in the environment"


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

    def beside(self, path: str) -> Store:
        """The store of another run: absolute, or relative to this run's folder.

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


class LocalStore:
    """A run on a file system with hard links; see `Store`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def prepare(self) -> None:
        """Make the folders of shards and manifests."""
        for name in ("shards", "manifests"):
            self._make_folders(self._own(f"{name}/x"))
        self._own("features/x")  # made by who needs it

    def read(self, key: str, limit: int | None = None) -> bytes:
        """See `Store.read`."""
        descriptor = os.open(self.folder / checked_key(key), _READ)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "no regular file", key)
            content = file.read(_LARGEST + 1 if limit is None else limit)
        if limit is None and len(content) > _LARGEST:
            raise OSError(errno.EFBIG, f"larger than {_LARGEST} bytes", key)
        return content

    def read_all(self, keys: list[str], limit: int | None = None) -> list[bytes | OSError]:
        """See `Store.read_all`."""
        return [_content_or_error(self, key, limit) for key in keys]

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return (self.folder / checked_key(key)).exists()

    def children(self, folder: str) -> list[str]:
        """See `Store.children`."""
        try:
            return sorted(os.listdir(self.folder / checked_key(folder, top=True)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Store.sizes`."""
        found: dict[str, int] = {}
        root = str(self.folder / checked_key(folder, top=True))
        for parent, _, names in os.walk(root):
            for name in names:
                path = os.path.join(parent, name)
                try:
                    found[os.path.relpath(path, root)] = os.stat(path).st_size
                except OSError:
                    continue  # a link to nothing or to itself, or removed just now
        return found

    def inside(self, key: str) -> bool:
        """See `Store.inside`."""
        return self._is_inside(self.folder / checked_key(key))

    def changed(self, key: str) -> float:
        """See `Store.changed`."""
        path = self.folder / checked_key(key)
        return max(part.lstat().st_mtime for part in (path, *path.rglob("*")))

    def open(self, key: str, size: int) -> int:
        """See `Store.open`."""
        # A Path takes longer to make than a file to open.
        return os.open(f"{self.url}/{checked_key(key)}", _READ)

    def forget(self, key: str) -> bool:
        """There are no copies."""
        return False

    def fetch(self, folder: str, files: Iterable[tuple[str, int]]) -> Path:
        """See `Store.fetch`."""
        return self.folder / checked_key(folder)

    def beside(self, path: str) -> Store:
        """See `Store.beside`."""
        if _URL.match(path):
            return open_store(path)
        near, far = (Path(os.path.normpath(folder / path)) for folder in (self.folder, self.folder.resolve()))
        return LocalStore(far if far.exists() and not near.exists() else near)

    def path_to(self, other: Store) -> str:
        """See `Store.path_to`."""
        return os.path.relpath(other.folder, self.folder) if isinstance(other, LocalStore) else other.url

    def create(self, key: str, data: bytes) -> bool:
        """See `Store.create`."""
        return atomic.create(self._own(key), data)

    def replace(self, key: str, data: bytes) -> None:
        """See `Store.replace`."""
        path = self._own(key)
        self._make_folders(path)
        atomic.replace(path, data)

    def move(self, key: str, to: str) -> bool:
        """See `Store.move`."""
        path = self._own(key)
        try:
            os.rename(path, self._own(to))
        except FileNotFoundError:
            return False
        atomic.flush(path.parent)
        return True

    def remove(self, key: str) -> None:
        """See `Store.remove`."""
        path = self._own(key)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """The run's own folder: on a file system nothing need be moved."""
        self.prepare()
        yield self.folder

    def keep(self, root: Path, key: str) -> None:
        """Force the folder to disk."""
        atomic.flush_tree(root / checked_key(key))

    def _own(self, key: str) -> Path:
        """Where a file is written, moved or removed: if it is a link, the link itself is meant."""
        path = self.folder / checked_key(key)
        if not self._is_inside(path.parent):
            reason = f"{key.rpartition('/')[0]} leads through a link out of the run's folder"
            raise OutsideError(errno.EXDEV, reason, self.url)
        return path

    def _make_folders(self, path: Path) -> None:
        """Make what is missing between the run's folder, which must be there, and a file."""
        for folder in reversed(path.relative_to(self.folder).parents[:-1]):
            (self.folder / folder).mkdir(exist_ok=True)

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.folder.resolve())


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
    raise OutsideError(errno.EINVAL, "no name of a file in a run's folder", ascii(key[:80]))


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
        from labelgen.shards.remote import RemoteStore

        scheme, bucket, path = match.groups()
        if not _BUCKET.fullmatch(bucket) or "?" in (path or ""):
            raise UserError(
                f"{run}: a run's address is bucket and folder alone; credentials belong into the environment"
            )
        scheme = "gs" if scheme == "gcs" else scheme
        return RemoteStore(f"{scheme}://{bucket}{(path or '').rstrip('/')}")
    if is_address(run):
        raise UserError(f"{run}: a run is in a folder, at s3://bucket/folder or at gs://bucket/folder")
    return LocalStore(Path(run))


def is_address(place: Path | str) -> bool:
    """Whether this names something in an object store, or on some other host, and no file here."""
    return _ANY_URL.match(str(place)) is not None


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


def _content_or_error(store: Store, key: str, limit: int | None) -> bytes | OSError:
    try:
        return store.read(key, limit)
    except OSError as error:
        return error
