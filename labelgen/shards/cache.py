"""Local copies of files that never change, at most so many bytes; the longest unused go first."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from labelgen.errors import UserError
from labelgen.shards.atomic import PARTIAL

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
            UserError: the file alone is larger than the limit.
            OSError: it cannot be fetched.
        """
        path = self.folder / key
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return self._fetch(path, size, download)
        if os.fstat(descriptor).st_size != size:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return self._fetch(path, size, download)
        os.utime(descriptor)
        return descriptor

    def _fetch(self, path: Path, size: int, download: Callable[[Path], None]) -> int:
        self._make_room(size)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
        try:
            download(temporary)
            descriptor = os.open(temporary, os.O_RDONLY)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._bytes = (self._bytes or 0) + size
        self._fetched += size
        return descriptor

    def _make_room(self, size: int) -> None:
        if size > self.limit:
            raise UserError(
                f"the cache {self.folder} may hold {self.limit} bytes, and one file has {size}; "
                "set LABELGEN_CACHE_GB higher"
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
