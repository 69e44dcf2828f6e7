"""Small runs on disk, for tests of what reads runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.core.frame import Camera, Frame
from labelgen.core.records import Failure, FrameRecord
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import write_frames
from labelgen.datasets.sources import with_source_ids
from labelgen.io.paths import digest
from labelgen.io.seal import CHECKSUM, sealed_json
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


def run_of_files(folder: Path) -> tuple[Path, Path]:
    """A data root with two frames, whose files hold a few bytes, and a run of them, which knows those."""
    root = folder / "data"
    root.mkdir()
    frames = []
    for number in range(2):
        for name in ("bin", "jpg"):
            (root / f"{number}.{name}").write_bytes(f"{number} {name}".encode())
        camera = Camera("front", f"{number}.jpg", 8, 8, np.eye(3), np.eye(4), number)
        frames.append(
            Frame(
                f"frame-{number}", "scene-0", number, number, f"{number}.bin", "kitti", np.eye(4), (camera,)
            )
        )
    frames, _ = with_source_ids(root, frames)
    run = make_run(folder / "run")
    write_frames(run / "frames.parquet", frames, DatasetInfo(dataroot=str(root)))
    hashes = {path.name: digest(path.read_bytes()) for path in root.iterdir()}
    records = [
        replace(
            record,
            source_id=frame.source_id,
            source_hashes={name: hashes[name] for name in (frame.lidar_path, frame.cameras[0].image_path)},
        )
        for record, frame in zip(some_records(count=2), frames, strict=True)
    ]
    write(run, records)
    return root, run
