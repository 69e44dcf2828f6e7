"""The record of each call of the main job on a run: when it was, what came out, and its numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelgen.shards.store import Store, open_store

CALLS = "calls"


def record_call(run: Path | str | Store, token: str, begin: float, outcome: Mapping[str, Any]) -> None:
    """Write ``<run>/calls/<time>-<token>.json``; a call that cannot be recorded is no error.

    Args:
        run: that was worked on.
        token: of the driver.
        begin: seconds since 1970.
        outcome: plain data.
    """
    started = datetime.fromtimestamp(begin, UTC)
    content = {"format": "labelgen-call", "started": started.isoformat(timespec="seconds"), **outcome}
    with contextlib.suppress(OSError):
        key = f"{CALLS}/{started:%Y%m%dT%H%M%S}-{token}.json"
        open_store(run).replace(key, (json.dumps(content, indent=1) + "\n").encode())


def read_calls(run: Path | str | Store) -> list[dict[str, Any]]:
    """The records of a run's calls, the earliest first; what cannot be read is left out."""
    store, found = open_store(run), []
    for name in store.children(CALLS):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(store.read(f"{CALLS}/{name}")))
    return found
