"""Small runs on disk, for tests of what reads runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelgen.records import Failure, FrameRecord
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
