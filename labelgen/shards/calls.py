"""The record of each call of the main job on a run: when it was, what came out, and its numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards.documents import first_error, plain_json

CALLS = "calls"
#: Bytes of the largest record that is read, and most of them.
_LARGEST, _MOST = 1 << 20, 10_000
_Number = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Expected(_Part):
    """What a call was expected to take, by `labelgen plan --probe`.

    Attributes:
        frames, bytes, objects: of all that it was to do.
        wall_s, gpu_hours, cost: on the machines that it had; cost without a price is None.
        price: of one GPU for one hour, or None.
        seconds: {stage: seconds a frame}.
    """

    frames: _Count
    bytes: _Number
    objects: _Number
    wall_s: _Number
    gpu_hours: _Number
    cost: _Number | None
    price: _Number | None
    seconds: dict[str, _Number]


class Figures(_Part):
    """The numbers of a call, see `labelgen.engine.metrics`: among them the GPUs and cores that it had."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    gpus: _Number = 0
    cores: _Number = 0


class Call(_Part):
    """One call.

    Attributes:
        started: time in UTC.
        labelled, failed: frames.
        seconds: that it took.
        figures: its numbers.
        expected: what it was expected to take, if that was asked before.
    """

    started: str
    labelled: _Count
    failed: _Count
    seconds: _Number
    figures: Figures = Figures()
    expected: Expected | None = None


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


def read_calls(run: Path | str | Store, on_damage: Callable[[str], None] | None = None) -> list[Call]:
    """The records of a run's calls, the earliest first.

    Args:
        run: folder, address or store.
        on_damage: told of each record that cannot be read and is left out, in one line.
    """
    store, found = open_store(run), []
    for name in store.children(CALLS)[-_MOST:]:
        try:
            raw = store.read(f"{CALLS}/{name}", _LARGEST + 1)
            plain_json(raw)
            found.append(Call.model_validate_json(raw))
        except (OSError, ValueError) as error:
            reason = first_error(error) if isinstance(error, ValidationError) else str(error)
            if on_damage is not None:
                on_damage(f"{CALLS}/{name} is ignored: {reason}")
    return found
