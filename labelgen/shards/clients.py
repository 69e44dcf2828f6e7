"""The few requests that a run needs of an object store: by obstore, or by fsspec where that is missing."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from labelgen.errors import UserError
from labelgen.shards.store import AccessError, StoreError
from labelgen.wording import one_line

#: How a request is tried again that fails for a while: 500, 503, connections that break.
RETRY: dict[str, Any] = {"max_retries": 8, "first_wait_s": 0.2, "longest_wait_s": 10.0}
#: Environment variable: seconds that one request may take, all of its tries together.
TIMEOUT = "LABELGEN_STORE_TIMEOUT"
_DEFAULT_TIMEOUT, _LONGEST_TIMEOUT = 120.0, 86400.0
#: Share of that time after which a try without an answer is given up.
_TRY = 0.25
#: Bytes that one request reads at most, so that its time does not depend on the size of an object.
_CHUNK = 8 << 20
#: Bytes per second that an upload through fsspec, which is one request, may take at least.
_SLOWEST = 1 << 20


@dataclass(frozen=True)
class Listed:
    """One object: key below the client's address, bytes, seconds since 1970 of its last change."""

    key: str
    size: int
    changed: float


class Client(Protocol):
    """Requests below one address; `StoreError`, or `FileNotFoundError` where there is no such object."""

    def get(self, key: str, limit: int | None) -> bytes:
        """The first ``limit`` bytes of an object, or all."""

    def download(self, key: str, path: Path) -> None:
        """Write an object to a local file."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object over what is there."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless it is there; False if it is."""

    def objects(self, prefix: str) -> list[Listed]:
        """All objects below a folder."""

    def names(self, prefix: str) -> list[str]:
        """Names of objects and folders directly below a folder."""

    def delete(self, key: str) -> None:
        """Remove an object; no error if it is not there."""


def time_limit() -> float:
    """Seconds that one request may take; `TIMEOUT` of the environment, or two minutes.

    Raises:
        UserError: that is no such number.
    """
    text = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(text or _DEFAULT_TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise UserError(f"{TIMEOUT}={text}: seconds are expected, at most {_LONGEST_TIMEOUT:.0f}")
    return seconds


def make_client(url: str) -> Client:
    """The client for an address: obstore's if it is installed, else fsspec's.

    The environment variable ``LABELGEN_STORE`` (``obstore`` or ``fsspec``) chooses.

    Raises:
        UserError: neither is installed.
    """
    chosen = os.environ.get("LABELGEN_STORE", "")
    if chosen not in ("", "obstore", "fsspec"):
        raise UserError(f"LABELGEN_STORE={chosen}: obstore or fsspec is expected")
    if chosen != "fsspec" and find_spec("obstore"):
        return ObstoreClient(url)
    driver = {"s3": "s3fs", "gs": "gcsfs"}[url.partition(":")[0]]
    if chosen != "obstore" and find_spec(driver):
        return FsspecClient(url)
    raise UserError(f"{url}: reading object stores needs obstore or {driver}: pip install 'labelgen[s3]'")


class ObstoreClient:
    """Requests through obstore; settings and credentials from the environment (``AWS_*``, ``GOOGLE_*``).

    ``STORAGE_EMULATOR_HOST`` names a server that stands for Google's, as it does for Google's own clients.
    """

    _threads_in: int | None = None  # the process that obstore's threads live in

    def __init__(self, url: str) -> None:
        from datetime import timedelta

        from obstore.store import from_url

        # Its threads do not come along when a process forks; a request would wait for them forever.
        if ObstoreClient._threads_in not in (None, os.getpid()):
            raise UserError(
                f"{url}: this process was forked from one that reads object stores; give the DataLoader "
                "multiprocessing_context='forkserver'"
            )
        ObstoreClient._threads_in = os.getpid()
        limit = time_limit()
        one_try = limit * _TRY
        backoff = {
            "init_backoff": timedelta(seconds=RETRY["first_wait_s"]),
            "max_backoff": timedelta(seconds=RETRY["longest_wait_s"]),
            "base": 2,
        }
        retry: Any = {
            "max_retries": RETRY["max_retries"],
            "retry_timeout": timedelta(seconds=limit - one_try),
            "backoff": backoff,
        }
        config: dict[str, Any] = {}
        if url.startswith("gs:"):
            endpoint = os.environ.get("STORAGE_EMULATOR_HOST", "")
            if endpoint:
                key = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
                config["service_account_key"] = json.dumps(
                    key | {"gcs_base_url": endpoint, "disable_oauth": True}
                )
        else:
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        options: Any = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5.0, one_try)),
            "timeout": timedelta(seconds=one_try),
        }
        self._process = os.getpid()
        with _as_os_error(url):
            self._store: Any = from_url(url, client_options=options, retry_config=retry, **config)

    def get(self, key: str, limit: int | None) -> bytes:
        """See `Client.get`."""
        import obstore

        if limit is None:
            return b"".join(self._parts(key))
        with _as_os_error(key):
            size = int(obstore.head(self._store, key)["size"])
            length = min(limit, size)
            return bytes(obstore.get_range(self._store, key, start=0, length=length)) if length else b""

    def download(self, key: str, path: Path) -> None:
        """See `Client.download`."""
        with path.open("xb") as file:
            file.writelines(self._parts(key))  # what goes wrong in writing is no fault of the store

    def _parts(self, key: str) -> Iterator[bytes]:
        """An object, in requests that each have their own time."""
        import obstore

        with _as_os_error(key):
            found = obstore.get(self._store, key)
            size = int(found.meta["size"])
            first = bytes(found.bytes()) if size <= _CHUNK else None
        if first is not None:
            yield first
            return
        for begin in range(0, size, _CHUNK):
            with _as_os_error(key):
                part = obstore.get_range(self._store, key, start=begin, end=min(begin + _CHUNK, size))
            yield bytes(part)

    def put(self, key: str, data: bytes | Path) -> None:
        """See `Client.put`."""
        import obstore

        with _as_os_error(key):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """See `Client.create`."""
        import obstore

        try:
            with _as_os_error(key):
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except FileExistsError:
            return False
        return True

    def objects(self, prefix: str) -> list[Listed]:
        """See `Client.objects`."""
        import obstore

        with _as_os_error(prefix):
            pages = obstore.list(self._store, prefix or None)
            return [
                Listed(entry["path"], int(entry["size"]), entry["last_modified"].timestamp())
                for page in pages
                for entry in page
            ]

    def names(self, prefix: str) -> list[str]:
        """See `Client.names`."""
        import obstore

        with _as_os_error(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def delete(self, key: str) -> None:
        """See `Client.delete`."""
        import obstore

        try:
            with _as_os_error(key):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            pass


class FsspecClient:
    """Requests through fsspec's drivers, s3fs and gcsfs, with their ways to find settings and credentials."""

    def __init__(self, url: str) -> None:
        import fsspec

        scheme, _, self._root = url.partition("://")
        # Listings change under our hands; instances must not be shared with who wants them cached.
        self._files: Any = fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)

        self._limit = time_limit()

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def get(self, key: str, limit: int | None) -> bytes:
        """See `Client.get`."""
        return b"".join(self._parts(key, limit))

    def download(self, key: str, path: Path) -> None:
        """See `Client.download`."""
        with path.open("xb") as file:
            file.writelines(self._parts(key, None))  # what goes wrong in writing is no fault of the store

    def _parts(self, key: str, limit: int | None) -> Iterator[bytes]:
        """The first ``limit`` bytes of an object, or all, in requests that each have their own time."""
        with _as_os_error(key):
            size = int(self._files.info(self._path(key), timeout=self._limit)["size"])
        size = size if limit is None else min(limit, size)
        for begin in range(0, size, _CHUNK):
            end = min(begin + _CHUNK, size)
            with _as_os_error(key):
                part = self._files.cat_file(self._path(key), start=begin, end=end, timeout=self._limit)
            yield bytes(part)

    def put(self, key: str, data: bytes | Path) -> None:
        """See `Client.put`."""
        with _as_os_error(key):
            if isinstance(data, Path):
                limit = self._limit + data.stat().st_size / _SLOWEST
                self._files.put_file(str(data), self._path(key), timeout=limit)
            else:
                limit = self._limit + len(data) / _SLOWEST
                self._files.pipe_file(self._path(key), data, timeout=limit)

    def create(self, key: str, data: bytes) -> bool:
        """See `Client.create`."""
        try:
            with _as_os_error(key):
                self._files.pipe_file(self._path(key), data, mode="create", timeout=self._limit)
        except FileExistsError:
            return False
        return True

    def objects(self, prefix: str) -> list[Listed]:
        """See `Client.objects`."""
        with _as_os_error(prefix):
            try:
                found = self._files.find(self._path(prefix), detail=True, timeout=self._limit)
            except FileNotFoundError:
                return []
        return [
            Listed(path.removeprefix(f"{self._root}/"), int(entry["size"]), _changed(entry))
            for path, entry in found.items()
        ]

    def names(self, prefix: str) -> list[str]:
        """See `Client.names`."""
        with _as_os_error(prefix):
            try:
                paths = self._files.ls(self._path(prefix), detail=False, timeout=self._limit)
            except FileNotFoundError:
                return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def delete(self, key: str) -> None:
        """See `Client.delete`."""
        try:
            with _as_os_error(key):
                self._files.rm_file(self._path(key), timeout=self._limit)
        except FileNotFoundError:
            pass


def _changed(entry: Any) -> float:
    when = entry.get("LastModified") or entry.get("mtime") or entry.get("updated")
    return float(when.timestamp()) if hasattr(when, "timestamp") else 0.0


# Words and not numbers: messages hold times and ports.
_TIMED_OUT = ("TimedOut", "kind: Timeout", "Timeout on", "timed out", "TimeoutError")
_EXISTS = ("PreconditionFailed", "Precondition Failed", "conditionNotMet", "ConditionalRequestConflict")


@contextmanager
def _as_os_error(what: str) -> Iterator[None]:
    """Errors of the libraries as those of a file system; `errno.ETIME` for a store that does not answer."""
    begin, limit = time.monotonic(), time_limit()
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__
        reason = one_line(f"{kind}: {error}", 300)
        if isinstance(error, FileNotFoundError | FileExistsError):
            raise
        if kind == "NotFoundError":
            raise FileNotFoundError(errno.ENOENT, "no such object", what) from error
        exists = kind in ("AlreadyExistsError", "PreconditionError") or getattr(error, "code", None) == 412
        if exists or any(word in str(error) for word in _EXISTS):
            raise FileExistsError(errno.EEXIST, "exists", what) from error
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or isinstance(error, PermissionError):
            raise AccessError(errno.EACCES, reason, what) from error
        late = time.monotonic() - begin >= limit * (1 - _TRY)
        if late or any(word in f"{kind}: {error}" for word in _TIMED_OUT):
            words = f"no answer in time; a request may take {limit:g} s ({TIMEOUT}); {one_line(reason, 200)}"
            raise StoreError(errno.ETIME, words, what) from error
        raise StoreError(errno.EIO, reason, what) from error
