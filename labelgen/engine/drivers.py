"""Who is at work on a run: the files that drivers leave in it, read as what anybody may have written.

A driver leaves its name and its frames in ``<run>/drivers/TOKEN.json``, and in ``TOKEN.beat`` a sign of life
that it renews. Whether one on another machine lives is judged without comparing clocks of two machines.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from labelgen.io.local import LocalStore
from labelgen.io.place import open_store
from labelgen.io.store import OutsideError, Store, StoreError
from labelgen.shards.documents import first_error

DRIVERS = "drivers"
#: Seconds between signs of life, and without one until a driver on another machine counts as dead.
BEAT_S, STALE_S = 15.0, 90.0
#: Seconds for which one whose last sign is that old, or from the future, is looked at before it counts so.
WATCH_S = 2.5 * BEAT_S
_TOKEN = r"[0-9a-f]{12}"
#: Bytes of the largest of our small files.
_SMALL = 256
#: Bytes and frames of the largest driver's file.
_LARGEST, _MOST_FRAMES = 64 << 20, 1 << 22
#: What the system says of a thing that is no readable file of ours, whoever asks.
_NO_FILE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


_FrameId = Annotated[str, StringConstraints(max_length=64)]


class Driver(BaseModel):
    """One process that drives a run.

    Attributes:
        token: its name, and that of its files.
        host, pid, born: machine (with the time of its start), process, and the process's start time.
        started: seconds since 1970 by that machine's clock.
        share: whether it shares its frames.
        frames: ids of the frames that it is to do.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    token: Annotated[str, StringConstraints(pattern=f"^{_TOKEN}$")]
    host: Annotated[str, StringConstraints(max_length=_SMALL)]
    pid: Annotated[int, Field(ge=0, le=1 << 31)]
    born: Annotated[str, StringConstraints(pattern="^[0-9]{0,20}$")]
    started: Annotated[float, Field(ge=0, le=1 << 33)]
    share: bool
    frames: Annotated[tuple[_FrameId, ...], Field(max_length=_MOST_FRAMES)]

    @classmethod
    def here(cls, frames: tuple[str, ...], share: bool) -> Driver:
        """This process."""
        host, pid, born = identity()
        token = uuid.uuid4().hex[:12]
        return cls(
            token=token, host=host, pid=pid, born=born, started=time.time(), share=share, frames=frames
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.partition('/')[0]}"

    @property
    def gone(self) -> bool:
        """Whether it was a process of this machine and is none any more."""
        return self.host == identity()[0] and birth(self.pid) != self.born


def record_key(token: str) -> str:
    """Where a driver says who it is."""
    return f"{DRIVERS}/{token}.json"


def beat_key(token: str) -> str:
    """Where it gives signs of life."""
    return f"{DRIVERS}/{token}.beat"


def now_key(token: str) -> str:
    """Where it says which frame it is at."""
    return f"{DRIVERS}/{token}.now"


def read_driver(store: Store, name: str) -> Driver:
    """Read one driver's file.

    Args:
        store: of the run.
        name: of the file, in the folder of drivers.

    Raises:
        ValueError: it is no driver's; the message says why.
        FileNotFoundError: it is gone.
    """
    token = name.removesuffix(".json")
    if not re.fullmatch(_TOKEN, token):
        raise ValueError("its name is not a driver's token")
    content = read_own(store, record_key(token), _LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"more than {_LARGEST} bytes")
    try:
        driver = Driver.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(first_error(error)) from error
    if driver.token != token:
        raise ValueError(f"token: {driver.token} is not the file's name")
    return driver


def read_own(store: Store, key: str, limit: int) -> bytes:
    """The beginning of a file that we may have written.

    Raises:
        ValueError: it is a folder, a pipe, or a link out of the run.
        OSError: it is gone, or cannot be read.
    """
    try:
        if not store.inside(key):
            raise ValueError("it leads out of the run's folder")
        return store.read(key, limit)
    except OutsideError as error:
        raise ValueError(str(error.strerror)) from error
    except StoreError:
        raise
    except OSError as error:
        if error.errno in _NO_FILE:
            raise ValueError("it is not a file") from error
        raise


def read_small(store: Store, key: str) -> str:
    """The text of a small file of ours; empty if it is not there or anything else."""
    try:
        content = read_own(store, key, _SMALL + 1)
        return content.decode() if len(content) <= _SMALL else ""
    except (FileNotFoundError, ValueError):
        return ""


def drivers(store: Store) -> Iterator[Driver]:
    """The drivers that left a file; what is none is passed over."""
    for name in store.children(DRIVERS):
        if name.endswith(".json"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                yield read_driver(store, name)


def living_drivers(run: Path | str | Store) -> list[Driver]:
    """The drivers of a run that are not known to be dead."""
    store, signs = open_store(run), Signs()
    return [driver for driver in drivers(store) if signs.lives(store, driver) is not False]


@dataclass
class Signs:
    """Which drivers live, by what this process has seen of them; times are of its own steady clock."""

    _seen: dict[str, tuple[object, float]] = field(default_factory=dict)

    def lives(self, store: Store, driver: Driver, now: float | None = None) -> bool | None:
        """Whether a driver lives; None while that cannot be said: ask again later.

        One whose process is gone is dead. One whose sign of life the store dates within `STALE_S` of ``now``
        lives. Any other has to give a sign while it is looked at, since the store may date files by the
        clocks of those who write them: for `WATCH_S`, or for `STALE_S` where there is no ``now``.

        Args:
            store: of the run.
            driver: one of its drivers.
            now: when the store says that something was written just now.
        """
        if driver.gone:
            return False
        key = beat_key(driver.token)
        try:
            sign = (read_own(store, key, _SMALL), store.changed(key))
        except (FileNotFoundError, ValueError):
            sign = (b"", -math.inf)
        if now is not None and abs(now - sign[1]) < STALE_S:
            return True
        before, since = self._seen.setdefault(driver.token, (sign, time.monotonic()))
        if sign != before:
            self._seen[driver.token] = (sign, time.monotonic())
            return True
        patience = STALE_S if now is None else WATCH_S
        return None if time.monotonic() - since < patience else False


def forget(store: Store, token: str) -> None:
    """Remove a driver's files."""
    for key in (record_key(token), beat_key(token), now_key(token)):
        remove_own(store, key)


def remove_own(store: Store, key: str) -> None:
    """Remove a file that we may have written; anything else in its place stays."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        read_own(store, key, 0)
        store.remove(key)


def tidy(store: Store) -> Iterator[str]:
    """Set aside what is in the place of drivers' files and is none, and remove what lost its driver.

    Yields:
        A warning for each that was set aside or passed over.
    """
    names = store.children(DRIVERS)
    for name in names:
        match = re.fullmatch(rf"({_TOKEN})\.(beat|now)", name)
        if match and f"{match[1]}.json" not in names:
            remove_own(store, f"{DRIVERS}/{name}")
        if not name.endswith(".json"):
            continue
        try:
            read_driver(store, name)
        except FileNotFoundError:
            continue
        except ValueError as error:
            where = set_aside(store, f"{DRIVERS}/{name}")
            moved = f"now {where}" if where else "passed over"
            yield f"{store.url}/{DRIVERS}/{name} is not a driver's file ({error}); {moved}"


def set_aside(store: Store, key: str) -> str:
    """Give what is in the place of a file or folder of ours another name; empty if it cannot have one."""
    folder, _, name = key.rpartition("/")
    to = f"{folder}/malformed-" if folder else f"{name}.malformed-"
    to += uuid.uuid4().hex[:12]
    with contextlib.suppress(OSError):
        # An object store reads what it moves.
        if isinstance(store, LocalStore) or len(store.read(key, _LARGEST + 1)) <= _LARGEST:
            return to if store.move(key, to) else ""
    return ""


def identity() -> tuple[str, int, str]:
    """Machine, process and the time of its start."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    since = boot.read_text().strip() if boot.exists() else ""
    # In containers, host names are the pods' and process numbers their own.
    space = os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").exists() else ""
    return f"{socket.gethostname()}/{since}/{space}", os.getpid(), birth(os.getpid())


def birth(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
