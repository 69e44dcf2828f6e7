"""A run in an object store: files copied here when they are read, conditional puts where it is written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from labelgen.core.errors import UserError
from labelgen.io import atomic
from labelgen.io.cache import FileCache
from labelgen.io.clients import Client
from labelgen.io.local import LocalStore
from labelgen.io.scratch import scratch
from labelgen.io.store import AccessError, LostReplyError, OutsideError, Store, StoreError, checked_key

_THREADS = 16
_DEFAULT_GB = 50.0
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class RemoteStore:
    """A run at ``s3://bucket/folder`` or ``gs://bucket/folder``; see `Store`.

    Files of shards are copied whole into a local folder when they are first read, by as many processes as
    there are; they never change. That folder is the environment's ``LABELGEN_CACHE`` (``~/.cache/labelgen``)
    and takes at most ``LABELGEN_CACHE_GB`` gigabytes (50) for each run. Manifests are always asked for anew.

    Args:
        url: without a slash at its end.
        cache: folder of the copies, instead of the environment's.
        cache_bytes: most bytes of them, instead of the environment's.
    """

    def __init__(self, url: str, cache: Path | None = None, cache_bytes: int | None = None) -> None:
        self.url = url
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        top = cache or Path(os.environ.get("LABELGEN_CACHE") or Path(home) / "labelgen")
        mark = hashlib.blake2b(url.encode(), digest_size=6).hexdigest()
        self.folder = top / f"{re.sub(r'[^A-Za-z0-9]+', '-', url)[-60:].strip('-')}-{mark}"
        self._cache = FileCache(self.folder, _limit() if cache_bytes is None else cache_bytes)
        self._client_of: tuple[int, Client] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_client_of": None}

    @property
    def client(self) -> Client:
        """This process's client."""
        if self._client_of is None or self._client_of[0] != os.getpid():
            self._client_of = (os.getpid(), Client(self.url))
        return self._client_of[1]

    def prepare(self) -> None:
        """Nothing: object stores have no folders."""

    def read(self, key: str, limit: int | None = None) -> bytes:
        """See `Store.read`; of what lies directly in the run's folder the mirror gets a copy."""
        content = self.client.get(checked_key(key), limit)
        if "/" not in key:
            with contextlib.suppress(OSError, UserError):  # of the cache, which nobody reads from here
                self._cache.prepare()
                atomic.replace(self.folder / key, content)
        return content

    def read_all(self, keys: list[str], limit: int | None = None) -> list[bytes | OSError]:
        """See `Store.read_all`."""

        def content(key: str) -> bytes | OSError:
            try:
                return self.client.get(checked_key(key), limit)
            except StoreError as error:
                if not isinstance(error, OutsideError):
                    raise  # the others would fare no better
                return error
            except OSError as error:
                return error

        return self._each(content, keys)

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        try:
            self.client.get(checked_key(key), 0)
        except FileNotFoundError:
            return False
        return True

    def children(self, folder: str) -> list[str]:
        """See `Store.children`."""
        return self.client.names(checked_key(folder, top=True))

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Store.sizes`."""
        found = self.client.objects(checked_key(folder, top=True))
        return {entry.key.removeprefix(f"{folder}/"): entry.size for entry in found}

    def inside(self, key: str) -> bool:
        """There are no links."""
        return True

    def changed(self, key: str) -> float:
        """See `Store.changed`."""
        parent = checked_key(key).rpartition("/")[0]
        below = self.client.objects(key) or [
            entry for entry in self.client.objects(parent) if entry.key == key
        ]
        if not below:
            raise FileNotFoundError(errno.ENOENT, "no such object", key)
        return max(entry.changed for entry in below)

    def open(self, key: str, size: int) -> int:
        """See `Store.open`."""
        return self._cache.open(checked_key(key), size, lambda path: self.client.download(key, path))

    def forget(self, key: str) -> bool:
        """See `Store.forget`."""
        return self._cache.forget(checked_key(key))

    def fetch(self, folder: str, files: Iterable[tuple[str, int]]) -> Path:
        """See `Store.fetch`."""
        wanted = list(files)
        if sum(size for _, size in wanted) > self._cache.limit:
            raise UserError(
                f"{folder} is larger than the cache {self._cache.folder} may grow to; raise LABELGEN_CACHE_GB"
            )
        self._each(lambda file: os.close(self.open(f"{folder}/{file[0]}", file[1])), wanted)
        return self.folder / checked_key(folder)

    def beside(self, path: str) -> str:
        """See `Store.beside`."""
        if path.startswith("/") or "://" in path:
            return path
        scheme, _, place = self.url.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(place, path))}"

    def path_to(self, other: Store) -> str:
        """See `Store.path_to`."""
        bucket, path = _bucket_and_path(self.url)
        there, to = _bucket_and_path(other.url)
        if isinstance(other, RemoteStore) and there == bucket:
            return posixpath.relpath(f"/{to}", f"/{path}")
        return str(other.folder.absolute()) if isinstance(other, LocalStore) else other.url

    def create(self, key: str, data: bytes) -> bool:
        """See `Store.create`.

        A put whose reply is lost is tried again, and then meets what it wrote itself: who gets False has to
        compare. See `labelgen.shards.commit.publish`.
        """
        try:
            return self.client.create(checked_key(key), data)
        except AccessError:
            raise
        except OSError as error:
            raise LostReplyError(error.errno, error.strerror, key) from error

    def replace(self, key: str, data: bytes) -> None:
        """See `Store.replace`."""
        self.client.put(checked_key(key), data)

    def move(self, key: str, to: str) -> bool:
        """See `Store.move`; not one step here, so what changed meanwhile is left where it is."""
        try:
            content = self.client.get(checked_key(key), None)
            self.client.create(checked_key(to), content)
            if self.client.get(key, None) != content:
                self.client.delete(to)
                return False
        except FileNotFoundError:
            return False
        self.client.delete(key)
        return True

    def remove(self, key: str) -> None:
        """See `Store.remove`."""
        keys = [entry.key for entry in self.client.objects(checked_key(key))]
        self._each(self.client.delete, keys or [key])

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A temporary folder."""
        with scratch() as folder:
            LocalStore(folder).prepare()
            yield folder

    def keep(self, root: Path, key: str) -> None:
        """Upload the folder and compare what is there with it."""
        local = LocalStore(root).sizes(key)
        self._each(lambda name: self.client.put(f"{key}/{name}", root / key / name), list(local))
        if (found := self.sizes(key)) != local:
            wrong = sorted(name for name in local if found.get(name) != local[name])
            raise OSError(
                errno.EIO, f"{', '.join(wrong[:3])}: missing or different from what was uploaded", key
            )

    def _each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        client = self.client  # made before there are threads
        assert client is not None
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(function, items))


def _bucket_and_path(url: str) -> tuple[str, str]:
    scheme, _, place = url.partition("://")
    bucket, _, path = place.partition("/")
    return f"{scheme}://{bucket}", path


def _limit() -> int:
    text = os.environ.get("LABELGEN_CACHE_GB", "")
    try:
        limit = float(text or _DEFAULT_GB)
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise UserError(f"LABELGEN_CACHE_GB={text}: expected a number of gigabytes")
    return int(limit * 1e9)
