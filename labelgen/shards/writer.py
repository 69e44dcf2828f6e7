"""Writes one shard, whole and once, and publishes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED, Failure, FrameRecord
from labelgen.core.redact import redact
from labelgen.core.wording import one_line
from labelgen.io.local import LocalStore
from labelgen.io.place import open_store
from labelgen.io.store import LostReplyError, Store
from labelgen.shards import columns
from labelgen.shards.commit import publish, published
from labelgen.shards.encode import write_group
from labelgen.shards.manifest import (
    FEATURES,
    ArrayEntry,
    Features,
    FrameEntry,
    Manifest,
    MetadataEntry,
    data_file,
    features_path,
    manifest_key,
    shard_path,
)
from labelgen.shards.run import now, tool_versions
from labelgen.shards.schema import ARRAYS, CORE, FORMAT_VERSION, MAX_FRAMES, OFFSETS
from labelgen.shards.shard import Shard, digest
from labelgen.shards.there import check_there

_LONGEST_TRACEBACK = 8_000
#: Attributes of a shard's root group that the format itself sets.
RESERVED = {"format", "format_version", "fingerprint", "shard_id", "uv_steps_per_pixel", "hit_reach"}


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
    run: Path | str | Store,
    records: Sequence[FrameRecord],
    failures: Sequence[Failure],
    *,
    fingerprint: str,
    attributes: Mapping[str, Any] | None = None,
    only: Collection[str] = (),
    steps: int | None = None,
) -> Manifest | None:
    """Store a group of frames as one shard and publish its manifest.

    The shard is written under a name of its own, read back and compared, flushed to disk, and only then
    named by a manifest, which the first of several writers of the same group gets to publish; the others
    remove what they wrote. A process that is killed at any point leaves nothing that a reader would see,
    and a second call with the same group completes.

    Rows are sorted by scene, time and frame id. A record that the format cannot hold (a pixel outside of
    every image, an id that is not ASCII) becomes a failure of the stage ``shards``.

    Args:
        run: folder of the run, on a file system with hard links, or its address in an object store.
        records: labelled frames.
        failures: frames of the group that could not be labelled; with ``records`` at most 64.
        fingerprint: of the run.
        attributes: for the shard's root group: JSON-like data and arrays (written as lists of numbers),
            such as ``class_names``, ``text_encoder``, ``text_embeddings`` (C, D).
        only: arrays, or groups, that a derived run stores; everything by default.
        steps: per pixel of ``views/uv``, for records that were read from a shard; the finest by default.

    Returns:
        The published manifest, which is another writer's if that one was first; None for an empty group.

    Raises:
        ValueError: more than 64 frames, a frame twice, or records that do not go together.
        UserError: the file system refuses (full, read-only, no hard links), or the run's folder is gone or
            holds another run.
    """
    if len(records) + len(failures) > MAX_FRAMES:
        raise ValueError(f"{len(records) + len(failures)} frames in one shard; the maximum is {MAX_FRAMES}")
    parts: list[FrameRecord | Failure] = [*records, *failures]
    group = [(part.frame_id, part.source_id) for part in parts]
    if len({frame_id for frame_id, _ in group}) != len(group):
        raise ValueError("a frame appears twice in one shard")
    if not group:
        return None
    unfit = {record.frame_id: why for record in records if (why := columns.why_not_storable(record))}
    failures = [*failures, *(_unfit(record, unfit) for record in records if record.frame_id in unfit)]
    records = sorted(
        (record for record in records if record.frame_id not in unfit),
        key=lambda record: (record.scene_id, record.timestamp_us, record.frame_id),
    )
    store = open_store(run)
    try:
        check_there(store, fingerprint)
        store.prepare()
        retry = 0
        while (before := published(store, shard_id_of(group, fingerprint, retry), fingerprint)) is not None:
            if before.frames or not records:
                return before
            retry += 1  # all of the group failed before, and now something did not
        shard_id = shard_id_of(group, fingerprint, retry)
        return _write(store, shard_id, records, failures, fingerprint, attributes, only, steps)
    except OSError as error:
        if isinstance(store, LocalStore):
            check_there(store)
        raise UserError(
            f"cannot write to {store.url}: {error.strerror or error}; free space or choose another output "
            "folder, then run the same job again: what is published is kept"
        ) from error


def _write(
    store: Store,
    shard_id: str,
    records: Sequence[FrameRecord],
    failures: Sequence[Failure],
    fingerprint: str,
    attributes: Mapping[str, Any] | None,
    only: Collection[str],
    steps: int | None,
) -> Manifest:
    attempt = uuid.uuid4().hex[:12]
    parts: dict[str, Any] = {
        "path": None,
        "frames": tuple(_entry(record, row) for row, record in enumerate(records)),
        "failed": tuple(_bounded(failure) for failure in failures),
        "arrays": {},
        "metadata": {},
    }
    if not records:
        return publish(store, _manifest(shard_id, attempt, fingerprint, parts))
    parts["path"] = path = shard_path(shard_id, attempt)
    steps = columns.uv_steps(records) if steps is None else steps
    content = _chosen(columns.pack(records, steps, {name.partition("/")[0] for name in only}), only)
    head = _attributes(attributes or {}) | {
        "format": "labelgen-shard",
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "shard_id": shard_id,
        "uv_steps_per_pixel": steps,
    }
    if "hits/inside" in content:
        head["hit_reach"] = columns.hit_reach(records)
    dense = {} if only else columns.pack_dense(records)
    apart = features_path(shard_id, attempt)
    try:
        with store.staging() as root:
            write_group(root / path, content, head)
            parts["arrays"], parts["metadata"] = _describe(root / path, content)
            if dense:
                (root / FEATURES).mkdir(exist_ok=True)
                dense |= {name: content[name] for name in CORE}
                write_group(root / apart, dense, head)
                arrays, metadata = _describe(root / apart, dense)
                parts["features"] = Features(path=apart, arrays=arrays, metadata=metadata)
            manifest = _manifest(shard_id, attempt, fingerprint, parts)
            for part in (manifest, manifest.apart()):
                if part is not None and part.path is not None:
                    Shard(LocalStore(root), part).check()
                    store.keep(root, part.path)
        winner = publish(store, manifest)
    except LostReplyError:
        raise  # a manifest may name the data: `verify --clean` removes them if none does
    except BaseException:
        if _surely_unpublished(store, shard_id, attempt):
            _remove(store, path)
            _remove(store, apart)
        raise
    if winner.attempt != attempt:
        _remove(store, path)
        _remove(store, apart)
    return winner


def _manifest(shard_id: str, attempt: str, fingerprint: str, parts: Mapping[str, Any]) -> Manifest:
    return Manifest(
        format="labelgen-manifest",
        format_version=FORMAT_VERSION,
        shard_id=shard_id,
        fingerprint=fingerprint,
        attempt=attempt,
        created=now(),
        tools=tool_versions(),
        **parts,
    )


def _surely_unpublished(store: Store, shard_id: str, attempt: str) -> bool:
    """Whether no manifest names what this writer wrote; False if that cannot be found out."""
    try:
        found = json.loads(store.read(manifest_key(shard_id)))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    except ValueError:
        return True  # another's that is damaged: manifests are published whole
    return not (isinstance(found, dict) and found.get("attempt") == attempt)


def _remove(store: Store, path: str) -> None:
    with contextlib.suppress(OSError):  # else `verify` names it, and `verify --clean` removes it
        store.remove(path)


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
            blake2b=digest([values]),
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
    if reserved := RESERVED & given.keys():
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
    labels = record.labels
    counts = np.bincount(labels.label, minlength=UNLABELLED + 1)[:UNLABELLED]
    known = labels.label != UNLABELLED
    sums = np.bincount(labels.label, weights=labels.confidence, minlength=UNLABELLED + 1)[:UNLABELLED]
    reasons = np.bincount(labels.reason)
    confidence = np.bincount(labels.confidence[known], minlength=256)
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
        notes=tuple(one_line(note) for note in record.notes),
        source_hashes={_clean(path): value for path, value in record.source_hashes.items()},
        seconds={stage: float(time) for stage, time in record.seconds.items()},
        num_views=len(record.views),
        num_regions=len(record.regions),
        reasons={int(reason): int(reasons[reason]) for reason in np.flatnonzero(reasons)},
        confidence_sums={int(label): round(float(sums[label])) for label in np.flatnonzero(counts)},
        confidence_counts=" ".join(map(str, confidence.tolist())),
    )


def _bounded(failure: Failure) -> Failure:
    trace = redact(_clean(failure.traceback))
    return Failure(
        frame_id=failure.frame_id,
        source_id=failure.source_id,
        stage=failure.stage,
        error_type=failure.error_type,
        message=one_line(failure.message),
        # The end of a traceback says most.
        traceback=trace if len(trace) <= _LONGEST_TRACEBACK else "...\n" + trace[-_LONGEST_TRACEBACK:],
    )


def _unfit(record: FrameRecord, reasons: Mapping[str, str]) -> Failure:
    message = f"frame {record.frame_id}: {reasons[record.frame_id]}"
    return Failure(record.frame_id, record.source_id, "shards", "ValueError", message, "")


def _clean(text: str) -> str:
    """Without the lone surrogates that names of files may hold; JSON cannot carry them."""
    return text.encode("utf-8", "replace").decode()
