"""The few requests that a run makes to an object store, through obstore."""

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
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.wording import one_line
from labelgen.io.store import AccessError, StoreError

#: How a request is tried again that fails for a while: 500, 503, connections that break.
RETRY: dict[str, Any] = {"max_retries": 8, "first_wait_s": 0.2, "longest_wait_s": 10.0}
#: Environment variable: seconds that one request may take, all of its tries together.
TIMEOUT = "LABELGEN_STORE_TIMEOUT"
_DEFAULT_TIMEOUT, _LONGEST_TIMEOUT = 120.0, 86400.0
#: Share of that time after which a try without an answer is given up.
_TRY = 0.25
#: Bytes that one request reads at most, so that its time does not depend on the size of an object.
_CHUNK = 8 << 20


@dataclass(frozen=True)
class Listed:
    """One object: key below the client's address, bytes, seconds since 1970 of its last change."""

    key: str
    size: int
    changed: float


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
        raise UserError(f"{TIMEOUT}={text}: expected seconds, at most {_LONGEST_TIMEOUT:.0f}")
    return seconds


class Client:
    """Requests below one address; `StoreError`, or `FileNotFoundError` where there is no such object.

    Settings and credentials come from the environment (``AWS_*``, ``GOOGLE_*``); Amazon's also from the
    profiles in ``~/.aws``. ``STORAGE_EMULATOR_HOST`` names a server that stands for Google's, as it does for
    Google's own clients.

    Raises:
        UserError: obstore is not installed, or this process was forked from one that used it.
    """

    _threads_in: int | None = None  # the process that obstore's threads live in

    def __init__(self, url: str) -> None:
        from datetime import timedelta

        if not find_spec("obstore"):
            raise UserError(f"{url}: reading object stores needs obstore: pip install 'labelgen[s3]'")
        from obstore.store import from_url

        # Its threads do not come along when a process forks; a request would wait for them forever.
        if Client._threads_in not in (None, os.getpid()):
            raise UserError(
                f"{url}: this process was forked from one that reads object stores; give the DataLoader "
                "multiprocessing_context='forkserver'"
            )
        Client._threads_in = os.getpid()
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
            if (provider := _from_profile(url)) is not None:
                config["credential_provider"] = provider
        options: Any = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5.0, one_try)),
            "timeout": timedelta(seconds=one_try),
        }
        self._process = os.getpid()
        with _as_os_error(url):
            self._store: Any = from_url(url, client_options=options, retry_config=retry, **config)

    def get(self, key: str, limit: int | None) -> bytes:
        """The first ``limit`` bytes of an object, or all."""
        import obstore

        if limit is None:
            return b"".join(self._parts(key))
        with _as_os_error(key):
            size = int(obstore.head(self._store, key)["size"])
            length = min(limit, size)
            return bytes(obstore.get_range(self._store, key, start=0, length=length)) if length else b""

    def download(self, key: str, path: Path) -> None:
        """Write an object to a local file."""
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
        """Write an object over what is there."""
        import obstore

        with _as_os_error(key):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless it is there; False if it is."""
        import obstore

        try:
            with _as_os_error(key):
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except FileExistsError:
            return False
        return True

    def objects(self, prefix: str) -> list[Listed]:
        """All objects below a folder."""
        import obstore

        with _as_os_error(prefix):
            pages = obstore.list(self._store, prefix or None)
            return [
                Listed(entry["path"], int(entry["size"]), entry["last_modified"].timestamp())
                for page in pages
                for entry in page
            ]

    def names(self, prefix: str) -> list[str]:
        """Names of objects and folders directly below a folder."""
        import obstore

        with _as_os_error(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def delete(self, key: str) -> None:
        """Remove an object; no error if it is not there."""
        import obstore

        try:
            with _as_os_error(key):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            pass


def _from_profile(url: str) -> Any:
    """Credentials of a profile of Amazon's, which obstore does not look for; None where there is none."""
    files = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
    there = any(Path(os.environ.get(name, usual)).expanduser().exists() for name, usual in files)
    if "AWS_ACCESS_KEY_ID" in os.environ or not (there or "AWS_PROFILE" in os.environ):
        return None
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.session.Session()
        return Boto3CredentialProvider(session) if session.get_credentials() is not None else None
    except BotoCoreError as error:
        raise UserError(f"{url}: {one_line(str(error))} (AWS_PROFILE, ~/.aws)") from error


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
