"""Frames that several drivers share: each is claimed by one, by create-if-absent, before it is loaded."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from labelgen.core.frame import Frame
from labelgen.engine.drivers import Signs, read_driver, read_own
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards import done_frames

CLAIMS = "claims"
#: Seconds for which another driver's life, and what is done, is taken for granted.
_TRUST_S = 5.0


@dataclass(frozen=True)
class Claims:
    """Claims frames for a driver; small enough to be pickled to workers.

    Attributes:
        run: address of the run.
        token: of the driver.
    """

    run: str
    token: str
    _signs: Signs = field(default_factory=Signs, compare=False, repr=False)
    _seen: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"run": self.run, "token": self.token, "_signs": Signs(), "_seen": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def take(self, frame: Frame) -> bool:
        """Whether the frame is this driver's to do; claims it if it is nobody's."""
        store, key = open_store(self.run), f"{CLAIMS}/{frame.frame_id}"
        for _ in range(3):
            if store.create(key, self.token.encode()):
                return True
            try:
                owner = read_own(store, key, 64).decode()
            except FileNotFoundError:
                continue  # taken from a dead one just now
            except ValueError:
                owner = ""  # no claim of a driver: nobody's
            if owner == self.token:
                return True  # claimed before by a worker of ours that died
            if self._lives(store, owner) or self._is_done(store, frame):
                return False
            # Its driver is gone and left it undone. Of several who see this, one gets to move the claim.
            store.move(key, f"{key}.{uuid.uuid4().hex[:8]}")
        return False

    def _lives(self, store: Store, token: str) -> bool:
        when, lives = self._seen.get(token, (0.0, False))
        if not when or time.monotonic() - when > _TRUST_S:
            try:
                lives = self._signs.lives(store, read_driver(store, f"{token}.json")) is not False
            except (FileNotFoundError, ValueError):
                lives = False
            self._seen[token] = (time.monotonic(), lives)
        return bool(lives)

    def _is_done(self, store: Store, frame: Frame) -> bool:
        when, held = self._seen.get("done", (0.0, frozenset()))
        key = (frame.frame_id, frame.source_id)
        if not when or (key not in held and time.monotonic() - when > _TRUST_S):
            progress = done_frames(store)
            held = progress.done | progress.failed.keys()
            self._seen["done"] = (time.monotonic(), held)
        return key in held
