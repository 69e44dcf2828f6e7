"""Holding frames of a run: a second driver of the same frames is refused, or shares them.

Two drivers of different frames (slices of a job array) do not mind each other. Labels never hang on this: a
frame that is done twice is published once. What it saves is the work.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.engine.claims import CLAIMS, Claims
from labelgen.engine.drivers import (
    BEAT_S,
    DRIVERS,
    WATCH_S,
    Driver,
    Signs,
    beat_key,
    birth,
    drivers,
    forget,
    identity,
    living_drivers,
    now_key,
    read_own,
    read_small,
    record_key,
    remove_own,
    set_aside,
    tidy,
)
from labelgen.io.local import LocalStore
from labelgen.io.place import absolute, open_store
from labelgen.io.store import Store
from labelgen.shards.there import check_there

#: What two drivers of the same frames can do in pass 1.
REMEDY = "stop both and start them with --share, or give each its own with --frames"
_MUTEX, _MUTEX_STALE_S = f"{DRIVERS}/mutex", 30.0


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
        self.suspects = frozenset(buried.values()).intersection(driver.frames)
        self.claims = Claims(absolute(store), driver.token) if driver.share else None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def mark(self, frame_id: str) -> None:
        """Write down which frame this process is at, so that the next driver knows what killed it.

        For runs on file systems; not flushed to disk: it is to outlive the process, not the machine.

        Raises:
            UserError: the run's folder is gone.
        """
        if isinstance(self.store, LocalStore):
            try:
                (self.store.folder / now_key(self.driver.token)).write_text(frame_id)
            except OSError:
                check_there(self.store)

    def alone(self) -> bool:
        """Whether no other driver of the run is left; buries the dead, and waits where it cannot tell."""
        signs = Signs()
        while True:
            _sign(self.store, self.driver.token)
            now = self.store.changed(beat_key(self.driver.token))
            others = [driver for driver in drivers(self.store) if driver.token != self.driver.token]
            lives = {driver.token: signs.lives(self.store, driver, now) for driver in others}
            if True in lives.values():
                return False
            if None not in lives.values():
                for token in lives:
                    forget(self.store, token)
                return True
            time.sleep(1.0)

    @contextmanager
    def alone_at_it(self) -> Iterator[None]:
        """While the block lasts no other driver changes what they share; for moments."""
        with _mutex(self.store):
            yield

    def end(self) -> None:
        """Let the frames go."""
        self._ended.set()
        self._thread.join()
        with _mutex(self.store):
            forget(self.store, self.driver.token)
            if not living_drivers(self.store):
                self.store.remove(CLAIMS)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):  # the next one may get through
                _sign(self.store, self.driver.token)


@contextmanager
def lease(
    run: Path | str | Store,
    frames: Sequence[Frame],
    *,
    share: bool = False,
    warn: Callable[[str], None] = lambda text: None,
    remedy: str = REMEDY,
) -> Iterator[Lease]:
    """Hold frames of a run while the block lasts.

    Args:
        run: made already.
        frames: that are to be done.
        share: do them together with other drivers that share.
        warn: told what was found in the place of drivers' files and set aside, and what is waited for.
        remedy: what to do about another driver of the same frames, beside waiting for it.

    Raises:
        UserError: another driver is at one of the frames, and not both share; or the run cannot be written.
    """
    store = open_store(run)
    driver = Driver.here(tuple(frame.frame_id for frame in frames), share)
    try:
        for name in (DRIVERS, CLAIMS) if share else (DRIVERS,):
            _make_folder(store, name, warn)
        buried = _register(store, driver, warn, remedy)
    except OSError as error:
        check_there(store)
        raise UserError(f"cannot write to {store.url}: {error.strerror or error}") from error
    held = Lease(store, driver, buried)
    try:
        yield held
    finally:
        with contextlib.suppress(OSError, UserError):  # as a dead one's, it goes when the next driver comes
            held.end()


def _register(store: Store, driver: Driver, warn: Callable[[str], None], remedy: str) -> dict[str, str]:
    """Put a driver among the others and remove the dead; gives the frame that each of those was at."""
    wanted, signs, buried = set(driver.frames), Signs(), {}
    told = False
    while True:
        with _mutex(store) as now:
            if not told:
                for text in tidy(store):
                    warn(text)
            doubtful = None
            for other in drivers(store):
                lives = signs.lives(store, other, now)
                if lives is False:
                    buried[other.token] = read_small(store, now_key(other.token))
                    forget(store, other.token)
                elif wanted.isdisjoint(other.frames) or (driver.share and other.share):
                    continue
                elif lives:
                    raise UserError(
                        f"another driver is at work on these frames ({other}); wait until it is done, "
                        + remedy
                    )
                else:
                    doubtful = other
            if doubtful is None:
                _sign(store, driver.token)
                store.replace(record_key(driver.token), driver.model_dump_json().encode())
                return buried
        if not told:
            warn(f"{doubtful} has these frames and gave no sign of life lately: waiting {WATCH_S:.0f} s")
        told = True
        time.sleep(1.0)


def _sign(store: Store, token: str) -> None:
    """Give a sign of life: a file with another content and time than before."""
    store.replace(beat_key(token), str(time.time()).encode())


def _make_folder(store: Store, name: str, warn: Callable[[str], None]) -> None:
    """Make a folder in the run's, which itself must be there."""
    if not isinstance(store, LocalStore):  # object stores have no folders
        return
    path = store.folder / name
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        warn(f"{path} is not the run's own folder; moved to {set_aside(store, name)}")
    path.mkdir(exist_ok=True)


@contextmanager
def _mutex(store: Store) -> Iterator[float]:
    """One driver at a time looks who is there and puts itself among them; yields the store's time."""
    host, pid, born = identity()
    mine = f"{uuid.uuid4().hex} {pid} {born} {host}"
    seen, since = "", time.monotonic()
    while not store.create(_MUTEX, mine.encode()):
        holder = _holder(store, _MUTEX)
        if holder == mine:
            break  # a store wrote it and lost the reply, and then met itself
        if (holder or "") != seen:
            seen, since = holder or "", time.monotonic()
        if holder is None or _has_ended(holder) or time.monotonic() - since > _MUTEX_STALE_S:
            _break_mutex(store, holder)
        if time.monotonic() - since > 2 * _MUTEX_STALE_S:
            raise UserError(f"{store.url}/{_MUTEX} does not go away; remove it if no driver is running")
        time.sleep(0.05)
    try:
        yield store.changed(_MUTEX)
    finally:
        if _holder(store, _MUTEX) == mine:
            store.remove(_MUTEX)


def _holder(store: Store, key: str) -> str | None:
    """What the holder of the mutex wrote into it; empty if it is gone, None if it is no file of ours."""
    try:
        return read_own(store, key, 1024).decode()
    except FileNotFoundError:
        return ""
    except ValueError:
        return None


def _has_ended(holder: str) -> bool:
    """Whether the mutex is that of a process of this machine that is none any more."""
    _, pid, born, host = (*holder.split(" ", 3), "", "", "", "")[:4]
    return host == identity()[0] and pid.isdecimal() and birth(int(pid)) != born


def _break_mutex(store: Store, holder: str | None) -> None:
    """Take the mutex from one that does not let go of it; of several who try, one succeeds."""
    if not (aside := set_aside(store, _MUTEX)):
        return
    if (taken := _holder(store, aside)) and taken != holder:
        store.create(_MUTEX, taken.encode())  # another one's, who took it meanwhile
    remove_own(store, aside)
