"""Who drives a run: a second driver of the same frames is refused, or shares them without doing one twice.

A driver leaves its name, its frames and the time in ``<run>/drivers`` and renews the time while it lives. Two
drivers of different frames (slices of a job array) do not mind each other. Drivers that share claim each
frame in ``<run>/claims`` before it is loaded, by create-if-absent. Labels never hang on this: a frame that is
done twice is published once. What it saves is the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgen.errors import UserError
from labelgen.frame import Frame
from labelgen.shards import done_frames
from labelgen.shards.store import LocalStore, Store, absolute, open_store

DRIVERS, CLAIMS = "drivers", "claims"
#: Seconds between signs of life, and without one until a driver on another machine counts as dead.
BEAT_S, STALE_S = 15.0, 90.0
#: Seconds for which another driver's life is taken for granted while frames are claimed.
_TRUST_S = 5.0
_MUTEX, _MUTEX_STALE_S = f"{DRIVERS}/mutex", 30.0


@dataclass(frozen=True)
class Driver:
    """One process that drives a run.

    Attributes:
        token: its name.
        host, pid, born: machine (with the time of its start), process, and the process's start time.
        started: seconds since 1970.
        share: whether it shares its frames.
        frames: ids of the frames that it is to do.
    """

    token: str
    host: str
    pid: int
    born: str
    started: float
    share: bool
    frames: tuple[str, ...]

    def __str__(self) -> str:
        minutes = (time.time() - self.started) / 60
        return f"process {self.pid} on {self.host.partition('/')[0]}, started {minutes:.0f} min ago"


@dataclass(frozen=True)
class Claims:
    """Claims frames for a driver; small enough to be pickled to workers.

    Attributes:
        run: address of the run.
        token: of the driver.
    """

    run: str
    token: str
    _seen: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"run": self.run, "token": self.token, "_seen": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def take(self, frame: Frame) -> bool:
        """Whether the frame is this driver's to do; claims it if it is nobody's."""
        store, key = open_store(self.run), f"{CLAIMS}/{frame.frame_id}"
        for _ in range(3):
            if store.create(key, self.token.encode()):
                return True
            try:
                owner = store.read(key).decode()
            except FileNotFoundError:
                continue  # taken from a dead one just now
            if owner == self.token:
                return True  # claimed before by a worker of ours that died
            if self._lives(store, owner) or self._is_done(store, frame):
                return False
            # Its driver is gone and left it undone. Of several who see this, one gets to move the claim.
            store.move(key, f"{key}.{uuid.uuid4().hex[:8]}")
        return False

    def _lives(self, store: Store, token: str) -> bool:
        when, living = self._seen.get("drivers", (0.0, frozenset()))
        if time.monotonic() - when > _TRUST_S or not when:
            living = frozenset(driver.token for driver in living_drivers(store))
            self._seen["drivers"] = (time.monotonic(), living)
        return token in living

    def _is_done(self, store: Store, frame: Frame) -> bool:
        when, held = self._seen.get("done", (0.0, frozenset()))
        key = (frame.frame_id, frame.source_id)
        if not when or (key not in held and time.monotonic() - when > _TRUST_S):
            progress = done_frames(store)
            held = progress.done | progress.failed.keys()
            self._seen["done"] = (time.monotonic(), held)
        return key in held


class Lease:
    """A driver's hold on its frames, renewed by a thread until `lease` ends."""

    def __init__(self, store: Store, driver: Driver, buried: dict[str, str]) -> None:
        """Start the signs of life.

        Args:
            store: of the run.
            driver: this process.
            buried: {token of a driver that died: frame that it was at, or empty}.
        """
        self.store, self.driver, self.buried = store, driver, buried
        self.suspects = frozenset(buried.values()) - {""}
        self.claims = Claims(absolute(store), driver.token) if driver.share else None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def mark(self, frame_id: str) -> None:
        """Write down which frame this process is at, so that the next driver knows what killed it.

        For runs on file systems; not flushed to disk: it is to outlive the process, not the machine.
        """
        if isinstance(self.store, LocalStore):
            (self.store.folder / _now(self.driver.token)).write_text(frame_id)

    def end(self) -> None:
        """Let the frames go."""
        self._ended.set()
        self._thread.join()
        with _mutex(self.store):
            _forget(self.store, self.driver.token)
            if not living_drivers(self.store):
                self.store.remove(CLAIMS)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):  # the next one may get through
                self.store.replace(_beat(self.driver.token), str(time.time()).encode())


@contextmanager
def lease(run: Path | str | Store, frames: Sequence[Frame], *, share: bool = False) -> Iterator[Lease]:
    """Hold frames of a run while the block lasts.

    Args:
        run: made already.
        frames: that are to be done.
        share: do them together with other drivers that share.

    Raises:
        UserError: another driver is at one of the frames, and not both share.
    """
    store = open_store(run)
    host, pid, born = _identity()
    ids = tuple(frame.frame_id for frame in frames)
    driver = Driver(uuid.uuid4().hex[:12], host, pid, born, time.time(), share, ids)
    try:
        with _mutex(store):
            buried = _bury(store)
            wanted = set(ids)
            for other in living_drivers(store):
                if not (share and other.share) and wanted.intersection(other.frames):
                    raise UserError(
                        f"another driver is at work on these frames ({other}); wait until it is done, stop "
                        "both and start them with --share, or give each its own with --frames"
                    )
            if share:
                _make_folder(store, CLAIMS)
            store.replace(_beat(driver.token), str(time.time()).encode())
            content = json.dumps(driver.__dict__ | {"frames": ids})
            store.replace(f"{DRIVERS}/{driver.token}.json", content.encode())
    except OSError as error:
        raise UserError(f"cannot write to {store.url}: {error.strerror or error}") from error
    held = Lease(store, driver, buried)
    try:
        yield held
    finally:
        with contextlib.suppress(OSError, UserError):  # as a dead one's, it goes when the next driver comes
            held.end()


def living_drivers(run: Path | str | Store) -> list[Driver]:
    """The drivers that are at work on a run."""
    store = open_store(run)
    return [driver for driver in _drivers(store) if _alive(store, driver)]


def _drivers(store: Store) -> list[Driver]:
    found = []
    for name in store.children(DRIVERS):
        if name.endswith(".json"):
            # One that is going, or was killed while it came.
            with contextlib.suppress(OSError, ValueError, TypeError):
                data = json.loads(store.read(f"{DRIVERS}/{name}"))
                found.append(Driver(**data | {"frames": tuple(data["frames"])}))
    return found


def _alive(store: Store, driver: Driver) -> bool:
    host, _, _ = _identity()
    if driver.host == host:
        return _birth(driver.pid) == driver.born
    try:
        last = float(store.read(_beat(driver.token)))
    except (OSError, ValueError):
        last = driver.started
    return time.time() - last < STALE_S


def _bury(store: Store) -> dict[str, str]:
    """Remove what dead drivers left; gives the frame that each was at when it died, empty if unknown."""
    buried = {}
    for driver in _drivers(store):
        if not _alive(store, driver):
            buried[driver.token] = ""
            with contextlib.suppress(OSError):
                buried[driver.token] = store.read(_now(driver.token)).decode()
            _forget(store, driver.token)
    return buried


def _forget(store: Store, token: str) -> None:
    for key in (f"{DRIVERS}/{token}.json", _beat(token), _now(token)):
        store.remove(key)


def _make_folder(store: Store, name: str) -> None:
    if isinstance(store, LocalStore):  # object stores have no folders
        (store.folder / name).mkdir(parents=True, exist_ok=True)


def _beat(token: str) -> str:
    return f"{DRIVERS}/{token}.beat"


def _now(token: str) -> str:
    return f"{DRIVERS}/{token}.now"


def _identity() -> tuple[str, int, str]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    since = boot.read_text().strip() if boot.exists() else ""
    # In containers, host names are the pods' and process numbers their own.
    space = os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").exists() else ""
    return f"{socket.gethostname()}/{since}/{space}", os.getpid(), _birth(os.getpid())


def _birth(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty if there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@contextmanager
def _mutex(store: Store) -> Iterator[None]:
    """One driver at a time looks who is there and puts itself among them."""
    token = uuid.uuid4().hex.encode()
    _make_folder(store, DRIVERS)
    end = time.monotonic() + 2 * _MUTEX_STALE_S
    while not store.create(_MUTEX, token):
        with contextlib.suppress(OSError):
            if store.read(_MUTEX) == token:
                break  # a store wrote it and lost the reply, and then met itself
            if time.time() - store.changed(_MUTEX) > _MUTEX_STALE_S:
                store.remove(_MUTEX)
        if time.monotonic() > end:
            raise UserError(f"{store.url}/{_MUTEX} does not go away; remove it if no driver is running")
        time.sleep(0.05)
    try:
        yield
    finally:
        store.remove(_MUTEX)
