"""Small runs on disk, for tests of what reads runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.records import Failure, FrameRecord
from labelgen.seal import CHECKSUM, sealed_json
from labelgen.shards import Manifest, create_run, write_shard
from tests.helpers.records import make_record

FINGERPRINT = "0123456789abcdef" * 2


def make_failure(frame_id: str, source_id: str = "source-0", message: str = "cannot be read") -> Failure:
    """A frame that failed while loading."""
    return Failure(
        frame_id, source_id, "load", "FrameError", message, "Traceback (most recent call last): ..."
    )


def make_run(path: Path, *, config: dict[str, object] | None = None) -> Path:
    """An empty run."""
    create_run(path, fingerprint=FINGERPRINT, config=config or {}, taxonomy={}, models=[])
    return path


def write(run: Path | str, records: Sequence[FrameRecord], failures: Sequence[Failure] = ()) -> Manifest:
    """Write one shard that is not empty."""
    manifest = write_shard(run, records, failures, fingerprint=FINGERPRINT)
    assert manifest is not None
    return manifest


def some_records(seed: int = 0, count: int = 3, **more: object) -> list[FrameRecord]:
    """Records ``frame-0`` and so on, one after another in time."""
    rng = np.random.default_rng(seed)
    return [make_record(rng, frame_id=f"frame-{n}", timestamp_us=n, **more) for n in range(count)]  # type: ignore[arg-type]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file as somebody would who means it: with the checksum that belongs to it."""
    content = json.loads(path.read_text())
    change(content)
    sealed = content.pop(CHECKSUM, None) is not None
    path.write_bytes(sealed_json(content) if sealed else json.dumps(content).encode())


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of a file; its size and its times stay."""
    data, times = bytearray(path.read_bytes()), path.stat()
    data[at] ^= 1 << bit
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
