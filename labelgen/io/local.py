"""A run on a local disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labelgen.io import atomic
from labelgen.io.store import OutsideError, Store, checked_key, is_address

#: Bytes of the largest file that is read whole.
_LARGEST = 1 << 30
#: A pipe that stands where a file is expected is not waited for.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


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
                raise OSError(errno.EINVAL, "not a regular file", key)
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

    def beside(self, path: str) -> str:
        """See `Store.beside`."""
        if is_address(path):
            return path
        near, far = (Path(os.path.normpath(folder / path)) for folder in (self.folder, self.folder.resolve()))
        return str(far if far.exists() and not near.exists() else near)

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


def _content_or_error(store: Store, key: str, limit: int | None) -> bytes | OSError:
    try:
        return store.read(key, limit)
    except OSError as error:
        return error
