"""Local copies of files that never change, within a limit of bytes; the least recently used go first."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.io.atomic import PARTIAL
from labelgen.io.store import StoreError

#: Age in seconds from which a download that did not end is removed.
_ABANDONED = 3600.0


class FileCache:
    """A folder of copies, shared by any number of processes.

    A file that is removed while another process reads it stays readable there; one that is gone is fetched
    again. Nothing is locked.

    Args:
        folder: made on first use.
        limit: bytes of all copies in it. With P processes at most P - 1 downloads more.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._bytes: int | None = None
        self._fetched = 0

    def open(self, key: str, size: int, download: Callable[[Path], None]) -> int:
        """A descriptor of the copy of a file, fetched if need be.

        Args:
            key: path below the folder.
            size: bytes that it should have; a copy of another size is fetched anew.
            download: writes the file to a path.

        Raises:
            UserError: the file alone is larger than the limit, or the folder cannot be written.
            OSError: it cannot be fetched.
        """
        path = self.folder / key
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return self._fetch(path, size, download)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            os.close(descriptor)
            return self._fetch(path, size, download)
        with contextlib.suppress(OSError):
            os.utime(descriptor)
        return descriptor

    def forget(self, key: str) -> bool:
        """Throw the copy of a file away; False if there is none."""
        path = self.folder / key
        if not path.exists():
            return False
        with self._local():
            _discard(path)
        return True

    def prepare(self) -> None:
        """Make the folder; nobody but this user may enter it.

        Raises:
            UserError: it cannot be made.
        """
        with self._local():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _fetch(self, path: Path, size: int, download: Callable[[Path], None]) -> int:
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
        with self._local():
            self._make_room(size)
            _discard(path)
            self.prepare()
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                download(temporary)
            except (StoreError, FileNotFoundError):
                raise
            except OSError as error:
                raise self._unusable(error) from error
            with self._local():
                descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
                os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._bytes = (self._bytes or 0) + size
        self._fetched += size
        return descriptor

    @contextmanager
    def _local(self) -> Iterator[None]:
        """What goes wrong here says nothing of the store."""
        try:
            yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> UserError:
        reason = error.strerror or error
        return UserError(
            f"the cache {self.folder} cannot be written: {reason}; free space, or set LABELGEN_CACHE"
        )

    def _make_room(self, size: int) -> None:
        if size > self.limit:
            raise UserError(
                f"the cache {self.folder} is limited to {self.limit} bytes, but one file has {size}; "
                f"raise LABELGEN_CACHE_GB"
            )
        # What other processes fetch is seen when this one looks again: after each 1/20 of the limit.
        if self._bytes is not None and self._bytes + size <= self.limit and self._fetched < self.limit // 20:
            return
        files = self._files()
        total = sum(bytes_ for _, bytes_, _ in files)
        for _, bytes_, path in sorted(files):
            if total + size <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= bytes_
        self._bytes, self._fetched = total, 0

    def _files(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of all copies; removes downloads that did not end."""
        found = []
        for parent, _, names in os.walk(self.folder):
            for name in names:
                path = Path(parent, name)
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                if not name.endswith(PARTIAL):
                    found.append((status.st_mtime, status.st_size, path))
                elif time.time() - status.st_mtime > _ABANDONED:
                    path.unlink(missing_ok=True)
        return found


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
