"""Writes one shard, whole and once, and publishes it."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.errors import UserError
from labelgen.records import UNLABELLED, Failure, FrameRecord
from labelgen.shards import atomic, columns
from labelgen.shards.commit import publish, published
from labelgen.shards.encode import write_group
from labelgen.shards.manifest import (
    MANIFESTS,
    SHARDS,
    ArrayEntry,
    FrameEntry,
    Manifest,
    MetadataEntry,
    data_file,
    shard_path,
)
from labelgen.shards.run import now, tool_versions
from labelgen.shards.schema import ARRAYS, CORE, FORMAT_VERSION, MAX_FRAMES, OFFSETS
from labelgen.shards.shard import Shard, digest

_LONGEST_MESSAGE, _LONGEST_TRACEBACK = 2_000, 8_000
_RESERVED = {"format", "format_version", "fingerprint", "shard_id", "uv_steps_per_pixel"}


def shard_id_of(frames: Collection[tuple[str, str]], fingerprint: str, retry: int = 0) -> str:
    """Name of the shard of a group of frames: the same group gives the same name.

    Args:
        frames: (frame id, source id) of each.
        fingerprint: of the run.
        retry: how often before the whole group failed.
    """
    content = [sorted(frames), fingerprint, *([retry] if retry else [])]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()


def write_shard(
    run: Path,
    records: Sequence[FrameRecord],
    failures: Sequence[Failure],
    *,
    fingerprint: str,
    attributes: Mapping[str, Any] | None = None,
    only: Collection[str] = (),
) -> Manifest | None:
    """Store a group of frames as one shard and publish its manifest.

    The shard is written under a name of its own, read back and compared, flushed to disk, and only then
    named by a manifest, which the first of several writers of the same group gets to publish; the others
    remove what they wrote. A process that is killed at any point leaves nothing that a reader would see,
    and a second call with the same group completes.

    Rows are sorted by scene, time and frame id. A record that the format cannot hold (a pixel outside of
    every image, an id that is not ASCII) becomes a failure of the stage ``shards``.

    Args:
        run: folder of the run, on a file system with hard links.
        records: labelled frames.
        failures: frames of the group that could not be labelled; with ``records`` at most 64.
        fingerprint: of the run.
        attributes: for the shard's root group: JSON-like data and arrays (written as lists of numbers),
            such as ``class_names``, ``text_encoder``, ``text_embeddings`` (C, D).
        only: arrays, or groups, that a derived run stores; everything by default.

    Returns:
        The published manifest, which is another writer's if that one was first; None for an empty group.

    Raises:
        ValueError: more than 64 frames, a frame twice, or records that do not go together.
        UserError: the file system refuses (full, read-only, no hard links).
    """
    if len(records) + len(failures) > MAX_FRAMES:
        raise ValueError(f"{len(records) + len(failures)} frames in one shard; {MAX_FRAMES} is the most")
    parts: list[FrameRecord | Failure] = [*records, *failures]
    group = [(part.frame_id, part.source_id) for part in parts]
    if len({frame_id for frame_id, _ in group}) != len(group):
        raise ValueError("a frame is twice in one shard")
    if not group:
        return None
    unfit = {record.frame_id: why for record in records if (why := columns.why_not_storable(record))}
    failures = [*failures, *(_unfit(record, unfit) for record in records if record.frame_id in unfit)]
    records = sorted(
        (record for record in records if record.frame_id not in unfit),
        key=lambda record: (record.scene_id, record.timestamp_us, record.frame_id),
    )
    try:
        for folder in (SHARDS, MANIFESTS):
            (run / folder).mkdir(exist_ok=True)
        retry = 0
        while (before := published(run, shard_id_of(group, fingerprint, retry), fingerprint)) is not None:
            if before.frames or not records:
                return before
            retry += 1  # all of the group failed before, and now something did not
        return _write(
            run, shard_id_of(group, fingerprint, retry), records, failures, fingerprint, attributes, only
        )
    except OSError as error:
        raise UserError(
            f"cannot write to {run}: {error.strerror or error}; free space or choose another output folder, "
            "then run the same job again: what is published stays"
        ) from error


def _write(
    run: Path,
    shard_id: str,
    records: Sequence[FrameRecord],
    failures: Sequence[Failure],
    fingerprint: str,
    attributes: Mapping[str, Any] | None,
    only: Collection[str],
) -> Manifest:
    attempt = uuid.uuid4().hex[:12]
    path = shard_path(shard_id, attempt) if records else None
    arrays: dict[str, ArrayEntry] = {}
    metadata: dict[str, MetadataEntry] = {}
    try:
        if path is not None:
            steps = columns.uv_steps(records)
            content = _chosen(columns.pack(records, steps), only)
            head = _attributes(attributes or {}) | {
                "format": "labelgen-shard",
                "format_version": FORMAT_VERSION,
                "fingerprint": fingerprint,
                "shard_id": shard_id,
                "uv_steps_per_pixel": steps,
            }
            write_group(run / path, content, head)
            arrays, metadata = _describe(run / path, content)
        manifest = Manifest(
            format="labelgen-manifest",
            format_version=FORMAT_VERSION,
            shard_id=shard_id,
            fingerprint=fingerprint,
            attempt=attempt,
            created=now(),
            tools=tool_versions(),
            path=path,
            frames=tuple(_entry(record, row) for row, record in enumerate(records)),
            failed=tuple(_bounded(failure) for failure in failures),
            arrays=arrays,
            metadata=metadata,
        )
        if path is not None:
            Shard(run, manifest).check()
            atomic.flush_tree(run / path)
        winner = publish(run, manifest)
    except BaseException:
        if path is not None and published(run, shard_id, fingerprint, attempt=attempt) is None:
            shutil.rmtree(run / path, ignore_errors=True)
        raise
    if path is not None and winner.attempt != attempt:
        shutil.rmtree(run / path, ignore_errors=True)
    return winner


def _describe(
    folder: Path, content: columns.Columns
) -> tuple[dict[str, ArrayEntry], dict[str, MetadataEntry]]:
    """What the manifest says of the files; hashes are of what was meant, not of what was written."""
    arrays = {}
    for name, values in content.items():
        file = folder / data_file(name, values.ndim)
        arrays[name] = ArrayEntry(
            dtype=values.dtype.name,
            shape=values.shape,
            size=file.stat().st_size if values.size else 0,
            blake2b=digest(values),
        )
    metadata = {}
    for file in sorted(folder.rglob("zarr.json")):
        raw = file.read_bytes()
        metadata[file.relative_to(folder).as_posix()] = MetadataEntry(
            size=len(raw), blake2b=hashlib.blake2b(raw, digest_size=16).hexdigest()
        )
    return arrays, metadata


def _chosen(content: columns.Columns, only: Collection[str]) -> columns.Columns:
    if not only:
        return content
    names = {name for name in content if name in only or ARRAYS[name].group in only}
    if unknown := set(only) - names - {ARRAYS[name].group for name in names}:
        raise ValueError(f"the records hold no {sorted(unknown)}")
    names |= set(CORE) | {OFFSETS[ARRAYS[name].group] for name in names if ARRAYS[name].group in OFFSETS}
    return {name: values for name, values in content.items() if name in names}


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    if reserved := _RESERVED & given.keys():
        raise ValueError(f"attributes {sorted(reserved)} are the format's own")
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # The shortest decimal that gives back the same value in the array's own type.
        flat = [float(str(item)) for item in value.reshape(-1)]
        return (
            np.array(flat, np.float64).reshape(value.shape).tolist()
            if value.dtype.kind == "f"
            else value.tolist()
        )
    return value


def _entry(record: FrameRecord, row: int) -> FrameEntry:
    counts = np.bincount(record.labels.label, minlength=UNLABELLED + 1)[:UNLABELLED]
    return FrameEntry(
        frame_id=record.frame_id,
        source_id=record.source_id,
        scene_id=record.scene_id,
        timestamp_us=int(record.timestamp_us),
        row=row,
        num_points=len(record.labels),
        status="partial" if record.status else "ok",
        labelled=int(counts.sum()),
        histogram={int(label): int(counts[label]) for label in np.flatnonzero(counts)},
        notes=tuple(_clean(note) for note in record.notes),
        source_hashes={_clean(path): value for path, value in record.source_hashes.items()},
        seconds={stage: float(time) for stage, time in record.seconds.items()},
    )


def _bounded(failure: Failure) -> Failure:
    trace = _clean(failure.traceback)
    return Failure(
        frame_id=failure.frame_id,
        source_id=failure.source_id,
        stage=failure.stage,
        error_type=failure.error_type,
        message=_clean(failure.message)[:_LONGEST_MESSAGE],
        # The end of a traceback says most.
        traceback=trace if len(trace) <= _LONGEST_TRACEBACK else "...\n" + trace[-_LONGEST_TRACEBACK:],
    )


def _unfit(record: FrameRecord, reasons: Mapping[str, str]) -> Failure:
    message = f"frame {record.frame_id}: {reasons[record.frame_id]}"
    return Failure(record.frame_id, record.source_id, "shards", "ValueError", message, "")


def _clean(text: str) -> str:
    """Without the lone surrogates that names of files may hold; JSON cannot carry them."""
    return text.encode("utf-8", "replace").decode()
