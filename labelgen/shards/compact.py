"""Rewrites a run in canonical shards: full groups in the order of time, nothing twice, no parent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards.frames import StoredFrame
from labelgen.shards.index import build_index
from labelgen.shards.names import PLAN
from labelgen.shards.reader import StoredRun
from labelgen.shards.resume import CHECKED_BYTES, resume
from labelgen.shards.run import create_run
from labelgen.shards.schema import MAX_FRAMES
from labelgen.shards.writer import RESERVED, write_shard


def compact(
    run: Path | str | Store, out: Path | str | Store, on_shard: Callable[[int, int], None] | None = None
) -> int:
    """Copy a run into another folder, as few shards as can be; the run itself stays as it is.

    Shards are filled with 64 frames in the order of scene, time and id, so that the result depends on the
    frames alone and not on how they were made. Of frames that several manifests name, the one that counts is
    taken; frames that only failed keep their failure. A derived run and its parents become one run without
    a parent. A run of an earlier format version comes out in the present one. Every array keeps its values.
    A call that was killed is continued by the next one.

    Args:
        run: to read.
        out: folder or address of the new run.
        on_shard: called with (shards written, frames done).

    Returns:
        Number of shards.

    Raises:
        UserError: the run is damaged, or ``out`` is the same folder, holds another run, or cannot be written.
    """
    source, target = open_store(run), open_store(out)
    if source.folder.resolve() == target.folder.resolve():
        raise UserError(f"{target.url} is the run itself; name another folder")
    opened = StoredRun(source)
    info = opened.info
    create_run(
        target,
        fingerprint=info.fingerprint,
        config=info.config,
        covered=info.covered,
        taxonomy=info.taxonomy,
        models=info.models,
    )
    if source.exists(PLAN):
        target.replace(PLAN, source.read(PLAN))
    done, shards, frames = resume(target, checked_bytes=CHECKED_BYTES).done, 0, 0
    for group in _groups(opened.frame(frame_id) for frame_id in opened.frames):
        if not {(frame.frame_id, frame.entry.source_id) for frame in group} <= done:
            write_shard(
                target,
                [replace(frame.record(), dense=frame.dense) for frame in group],
                [],
                fingerprint=info.fingerprint,
                attributes=_attributes(group[0]),
                steps=group[0].uv_steps,
            )
        shards, frames = shards + 1, frames + len(group)
        if on_shard is not None:
            on_shard(shards, frames)
    failures = [opened.failures[frame_id] for frame_id in sorted(opened.failures)]
    for begin in range(0, len(failures), MAX_FRAMES):
        write_shard(target, [], failures[begin : begin + MAX_FRAMES], fingerprint=info.fingerprint)
    build_index(target)
    return shards


def _groups(frames: Iterator[StoredFrame]) -> Iterator[list[StoredFrame]]:
    """At most 64 consecutive frames that can be in one shard."""
    group: list[StoredFrame] = []
    kind = ""
    kinds: dict[tuple[str, ...], str] = {}  # frames of the same shards are of the same kind
    for frame in frames:
        if frame.shards not in kinds:
            kinds[frame.shards] = _kind(frame)
        of_this = kinds[frame.shards]
        if group and (len(group) == MAX_FRAMES or of_this != kind):
            yield group
            group = []
        group.append(frame)
        kind = of_this
    if group:
        yield group


def _kind(frame: StoredFrame) -> str:
    """Equal for frames that one shard can hold: same attributes, optional arrays and widths."""
    content = [_attributes(frame), frame.uv_steps, frame.layout, frame.hit_reach]
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _attributes(frame: StoredFrame) -> dict[str, Any]:
    return {name: value for name, value in frame.attributes.items() if name not in RESERVED}
