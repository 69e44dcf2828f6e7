"""One scene of pass 2: done frame by frame, and committed in shards."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.core.records import Failure, FrameRecord, Views
from labelgen.engine.derivation import Derivation, Derived, mark_of, open_scenes
from labelgen.engine.driver import Committed
from labelgen.engine.failures import failure, failure_by
from labelgen.engine.isolation import Died, run_alone
from labelgen.io.retry import patiently
from labelgen.runs import Scene
from labelgen.shards import done_frames, write_shard
from labelgen.shards.schema import MAX_FRAMES

#: {number of a scene that is to be done: its frames that are done already}.
Todo = Mapping[int, frozenset[str]]


def derive_alone(derivation: Derivation, number: int, there: frozenset[str]) -> Committed:
    """As `derive_scene`, in a process of its own; if that dies, the scene's frames have failed.

    Args:
        derivation: see `labelgen.engine.derivation.plan_derivation`.
        number: of the scene.
        there: see `derive_scene`.
    """
    found = run_alone(_derive_numbered, derivation, number, there)
    if isinstance(found, Died):
        return fail_scene(derivation, number, there, found)
    done: Committed = found
    return done


def fail_scene(derivation: Derivation, number: int, there: frozenset[str], how: Died) -> Committed:
    """Commit that all frames of a scene have failed that are not committed.

    Returns:
        Those, and the frames that were labelled before.
    """
    scene = open_scenes(derivation)[number]
    progress, mark = done_frames(derivation.output), mark_of(scene)
    left = [name for name in scene.frame_ids if name not in there]
    failed = [name for name in left if (name, mark) not in progress.done]
    reason = f"its scene {how.reason}"
    failures = [
        replace(
            failure(scene.run.entry(name), derivation.operation.name, how.kind, reason, how.trace),
            source_id=mark,
        )
        for name in failed
    ]
    for begin in range(0, len(failures), MAX_FRAMES):
        _commit(derivation, [], failures[begin : begin + MAX_FRAMES])
    return Committed(frames=len(left) - len(failed), failed=len(failed), scenes=1)


def _derive_numbered(folder: Path, derivation: Derivation, number: int, there: frozenset[str]) -> Committed:
    return derive_scene(derivation, open_scenes(derivation)[number], there)


def derive_scene(
    derivation: Derivation,
    scene: Scene,
    there: frozenset[str] = frozenset(),
    stop: threading.Event | None = None,
) -> Committed:
    """Do one scene and commit it in shards of at most 64 frames.

    The frames' ``source_id`` is that of `mark_of`. An operation that raises fails the frames of the scene
    that it had not given yet.

    Args:
        derivation: see `plan_derivation`.
        scene: of the parent.
        there: its frames that are committed already, and are not committed again.
        stop: when set, no frame is begun any more; what is done is committed.

    Returns:
        What was committed; the scene counts as done if all its frames have been given.
    """
    taxonomy, mark = scene.run.taxonomy, mark_of(scene)
    left = list(scene.frame_ids)
    records: list[FrameRecord] = []
    failures: list[Failure] = []
    done = Committed()

    def commit(at_least: int) -> None:
        nonlocal done
        if len(records) + len(failures) >= at_least:
            done += _commit(derivation, records, failures)
            records.clear()
            failures.clear()

    try:
        for given in derivation.operation(scene, taxonomy):
            left.remove(given.frame_id)
            if given.frame_id in there:
                continue
            if isinstance(given, Failure):
                failures.append(replace(given, source_id=mark))
            else:
                records.append(_record(scene, given, mark))
            commit(MAX_FRAMES)
            if stop is not None and stop.is_set():
                break
    except (MemoryError, UserError):
        raise
    except Exception as error:
        for frame_id in (frame_id for frame_id in left if frame_id not in there):
            failed = failure_by(scene.run.entry(frame_id), derivation.operation.name, error)
            failures.append(replace(failed, source_id=mark))
            commit(MAX_FRAMES)
        left.clear()
    commit(1)
    return done + Committed(scenes=int(not left))


def _commit(derivation: Derivation, records: Sequence[FrameRecord], failures: Sequence[Failure]) -> Committed:
    """Write a shard; safe to repeat, and repeated where the store fails for a moment."""
    manifest = patiently(
        lambda: write_shard(
            derivation.output,
            records,
            failures,
            fingerprint=derivation.fingerprint,
            attributes=derivation.attributes,
            only=derivation.operation.stored,
        )
    )
    if manifest is None:
        return Committed()
    return Committed(frames=len(manifest.frames), failed=len(manifest.failed), shards=1)


def _record(scene: Scene, given: Derived, mark: str) -> FrameRecord:
    record = given.record or scene.run.frame(given.frame_id).record()
    views = record.views
    if given.visible is not None:
        views = Views(views.point, views.camera, views.uv, views.depth, views.depth_residual, given.visible)
    # Points are the parent's, and so are time per stage and hashes of files.
    return replace(
        record,
        source_id=mark,
        labels=given.labels,
        views=views,
        semantics=record.semantics if given.semantics is None else given.semantics,
        xyz=None,
        intensity=None,
    )
