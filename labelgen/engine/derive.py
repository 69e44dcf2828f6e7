"""Pass 2: a derived run from a run, scene by scene, with the same rules for commit, resume and failures."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.roots import clouds
from labelgen.engine.drain import draining
from labelgen.engine.isolation import Died, run_alone
from labelgen.engine.job import Watch
from labelgen.engine.lease import lease
from labelgen.engine.task import MAX_TRACEBACK
from labelgen.errors import FrameError, RawFileError, UserError
from labelgen.records import Failure, FrameRecord, PointLabels, Semantics, Views
from labelgen.redact import redact
from labelgen.retry import patiently
from labelgen.runs import Run, Scene, scenes_of
from labelgen.shards import (
    Parent,
    build_index,
    create_run,
    done_frames,
    merge_plan,
    resume,
    write_shard,
)
from labelgen.shards.calls import record_call
from labelgen.shards.place import absolute, open_store
from labelgen.shards.resume import CHECKED_BYTES
from labelgen.shards.schema import FORMAT_VERSION, MAX_FRAMES
from labelgen.shards.there import while_there
from labelgen.taxonomy import Taxonomy
from labelgen.wording import one_line

#: Kind of failures that may have passed when the same command is given again.
_PASSES = RawFileError.__name__


@dataclass(frozen=True)
class Derived:
    """What an operation gives for one frame.

    Attributes:
        frame_id: one of the scene's.
        labels: N rows.
        visible: (V,) the answer of the depth test, where it changed; or None.
        semantics: what the regions mean, where that changed; or None.
        record: the parent's frame, where it was read whole; or None.
    """

    frame_id: str
    labels: PointLabels
    visible: NDArray[np.bool_] | None = None
    semantics: Semantics | None = None
    record: FrameRecord | None = None


class Operation(Protocol):
    """A way to make labels from a stored scene; small enough to be pickled."""

    @property
    def name(self) -> str:
        """Of the operation, in ``run.json``."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Arrays or groups of arrays that it changes."""

    @property
    def points(self) -> frozenset[str]:
        """Arrays of the cloud that it reads: from the raw file, where the run does not store them."""

    def settings(self) -> dict[str, Any]:
        """All that can change a label, as JSON-like data."""

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Labels of a scene's frames, in their order; holds few frames at a time, may go through it twice."""


@dataclass(frozen=True)
class Outcome:
    """What one call of `derive` did.

    Attributes:
        frames, failed: of this call.
        scenes: done in this call.
        skipped: scenes that were done before.
        failed_before: frames of those that failed then.
        failed_fraction: share of the frames that were asked for that failed, now or before.
        left: frames that a signal left undone.
        signal: number of the signal; 0 if none.
    """

    frames: int = 0
    failed: int = 0
    scenes: int = 0
    skipped: int = 0
    failed_before: int = 0
    failed_fraction: float = 0.0
    left: int = 0
    signal: int = 0

    @property
    def stopped(self) -> bool:
        """Whether a signal ended the call."""
        return self.signal != 0


@dataclass(frozen=True)
class Derivation:
    """A planned derived run: small enough to be sent to where a scene is done.

    Attributes:
        parent, output: folders or addresses of the two runs, absolute.
        root: where raw clouds are.
        operation: what is done.
        fingerprint: of the derived run.
        attributes: of its shards; the parent's hold where it has none.
    """

    parent: str
    output: str
    root: Path
    operation: Operation
    fingerprint: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def plan_derivation(
    parent: Run,
    operation: Operation,
    output: Path | str,
    *,
    taxonomy: Taxonomy | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Derivation:
    """Make the derived run's folder, or check that the one there is of the same parent and settings.

    Args:
        parent: a run.
        operation: what is done with it.
        output: the derived run's folder or address.
        taxonomy: of the derived run; None: the parent's.
        attributes: of the derived run's shards, where they differ from the parent's.

    Raises:
        UserError: the folder is the parent's own, or holds another run; the plan lacks a frame; the data root
            is wrong where it is needed. Nothing is written then.
    """
    target = open_store(output)
    if target.folder.resolve() == parent.path.resolve():
        raise UserError(f"{output} is the run itself; a derived run needs a folder of its own: --output")
    scenes = scenes_of(parent)
    if not operation.points <= parent.arrays:
        parent.need(clouds)
    settings = operation.settings()
    covered = {"derived": {"operation": operation.name, "parent": parent.info.fingerprint, **settings}}
    content = {"format": FORMAT_VERSION, **covered}
    mark = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
    create_run(
        target,
        fingerprint=mark,
        config=parent.info.config | covered,
        covered=covered,
        taxonomy=parent.info.taxonomy if taxonomy is None else taxonomy.to_dict(),
        models=parent.info.models,
        parent=Parent(path=target.path_to(parent.store), fingerprint=parent.info.fingerprint),
        warnings=parent.info.warnings,
    )
    resume(target, checked_bytes=CHECKED_BYTES)
    marks: dict[str, str] = {}
    for scene in scenes:
        marks |= dict.fromkeys(scene.frame_ids, mark_of(scene))
    plan = parent.plan.values()
    marked = [replace(frame, source_id=marks.get(frame.frame_id, frame.source_id)) for frame in plan]
    merge_plan(target, marked, parent.dataset)
    return Derivation(
        absolute(parent.store), absolute(target), parent.root, operation, mark, attributes or {}
    )


#: {number of a scene that is to be done: its frames that are done already}.
Todo = Mapping[int, frozenset[str]]

#: Does scenes, and gives frames labelled and failed of each as it is done.
Runner = Callable[[Derivation, Todo, Watch], Iterator[tuple[int, int]]]
#: What two drivers of the same scenes can do.
_REMEDY = "or give each its own with --scenes"


def derive(
    derivation: Derivation,
    on_frame: Callable[[int], None],
    wanted: Callable[[int, Scene], bool] | None = None,
    runner: Runner | None = None,
    *,
    retry_failed: bool = False,
    share: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Do the scenes that are not done yet, and index the run.

    Under the rules of pass 1 (`labelgen.engine.main_job.execute`): the frames are held against other drivers;
    SIGTERM and Ctrl-C let what is begun be finished and committed; a scene at which an earlier driver died
    is done in a process of its own, and fails if it kills that, too; a store that fails for a moment is
    asked again.

    A scene whose frames in the parent have changed since is done anew. Nothing is overwritten: its new shards
    stand beside the old ones, and readers take those that the plan, ``frames.parquet``, asks for. Frames that
    failed for their raw files are tried again by every call: those may be there now.

    Args:
        derivation: see `plan_derivation`.
        on_frame: called with the number of frames of every scene that is done.
        wanted: which scenes, by number and content: for slices of a job array; all by default.
        runner: where the scenes are done; here, one after another, by default.
        retry_failed: try all failed frames again.
        share: let another driver that shares do the same scenes; what both do counts once.
        warn: told of what is odd about other drivers.

    Raises:
        UserError: the parent is damaged, the folder cannot be written or was removed meanwhile, or another
            driver is at work on the scenes.
    """
    begin = time.time()
    scenes = enumerate(open_scenes(derivation))
    chosen = [(number, scene) for number, scene in scenes if wanted is None or wanted(number, scene)]
    before = done_frames(derivation.output)
    again = {key for key, why in before.failed.items() if retry_failed or why.error_type == _PASSES}
    held = before.done | (before.failed.keys() - again)
    todo: dict[int, frozenset[str]] = {}
    failed_before = 0
    for number, scene in chosen:
        scene_mark = mark_of(scene)
        there = frozenset(f for f in scene.frame_ids if (f, scene_mark) in held)
        if len(there) < len(scene.frame_ids):
            todo[number] = there
        failed_before += sum((f, scene_mark) in before.failed for f in there)
        on_frame(len(there))
    outcome = Outcome(skipped=len(chosen) - len(todo), failed_before=failed_before)
    asked = sum(len(scene.frame_ids) for _, scene in chosen)
    members = {number: scene for number, scene in chosen if number in todo}
    frames = [scene.run.planned(f) for scene in members.values() for f in scene.frame_ids]
    left = len(frames) - sum(map(len, todo.values()))
    with while_there(derivation.output), ExitStack() as stack:
        watch = Watch()
        if todo:  # nothing is written to a run that is whole: its disk may be an archive's
            driver = stack.enter_context(
                lease(derivation.output, frames, share=share, warn=warn, remedy=_REMEDY)
            )
            stack.enter_context(draining(watch.stop))
            watch = replace(watch, suspects=driver.suspects, mark=driver.mark)
        for labelled, failed in (runner or run_here)(derivation, todo, watch):
            outcome = replace(
                outcome,
                frames=outcome.frames + labelled,
                failed=outcome.failed + failed,
                scenes=outcome.scenes + 1,
            )
            on_frame(labelled + failed)
        build_index(derivation.output)
        left -= outcome.frames + outcome.failed
        outcome = replace(
            outcome,
            failed_fraction=(outcome.failed + failed_before) / max(1, asked),
            left=left,
            signal=watch.stop.signal if left else 0,
        )
        if todo:
            record_call(derivation.output, driver.driver.token, begin, _call(outcome, begin))
    return outcome


def run_here(derivation: Derivation, todo: Todo, watch: Watch) -> Iterator[tuple[int, int]]:
    """Do scenes in this process, one after another."""
    scenes = open_scenes(derivation)
    for number, there in todo.items():
        if watch.stop.is_set():
            return
        scene = scenes[number]
        if watch.suspects.isdisjoint(scene.frame_ids):
            watch.mark(scene.frame_ids[0])
            done = derive_scene(derivation, scene, there, watch.stop)
            watch.mark("")
        else:
            done = derive_alone(derivation, number, scene, there)
        yield done


def derive_alone(derivation: Derivation, number: int, scene: Scene, there: frozenset[str]) -> tuple[int, int]:
    """As `derive_scene`, in a process of its own; if that dies, the scene's frames have failed."""
    found = run_alone(_derive_numbered, derivation, number, there)
    if isinstance(found, Died):
        return fail_scene(derivation, scene, there, found)
    labelled, failed = found
    return labelled, failed


def fail_scene(derivation: Derivation, scene: Scene, there: frozenset[str], how: Died) -> tuple[int, int]:
    """Commit that all frames of a scene have failed that are not committed.

    Returns:
        How many frames were labelled before, and how many failed.
    """
    progress, mark = done_frames(derivation.output), mark_of(scene)
    left = [name for name in scene.frame_ids if name not in there]
    failed = [name for name in left if (name, mark) not in progress.done]
    failures = [
        Failure(
            frame_id=name,
            source_id=mark,
            stage=derivation.operation.name,
            error_type=how.kind,
            message=one_line(f"frame {name}: its scene {how.reason}"),
            traceback=redact(how.trace)[-MAX_TRACEBACK:],
        )
        for name in failed
    ]
    for begin in range(0, len(failures), MAX_FRAMES):
        _commit(derivation, [], failures[begin : begin + MAX_FRAMES])
    return len(left) - len(failed), len(failed)


def _derive_numbered(
    folder: Path, derivation: Derivation, number: int, there: frozenset[str]
) -> tuple[int, int]:
    return derive_scene(derivation, open_scenes(derivation)[number], there)


def _call(outcome: Outcome, begin: float) -> dict[str, Any]:
    counts = {"labelled": outcome.frames, "failed": outcome.failed, "stopped": outcome.stopped}
    return counts | {"signal": outcome.signal, "seconds": round(time.time() - begin, 2)}


def open_scenes(derivation: Derivation) -> Sequence[Scene]:
    """The parent's scenes; the data root was looked at when the derived run was planned."""
    return scenes_of(Run(derivation.parent, derivation.root))


def mark_of(scene: Scene) -> str:
    """Names what a derived run's labels of a scene are made of: all its frames and their sources.

    It is the ``source_id`` of the scene's frames in a derived run, where a scene that has gained a frame,
    or had one labelled anew, is done anew, as a frame is whose files have changed.
    """
    members = sorted((frame_id, scene.run.entry(frame_id).source_id) for frame_id in scene.frame_ids)
    return hashlib.blake2b(json.dumps(members).encode(), digest_size=16).hexdigest()


def derive_scene(
    derivation: Derivation,
    scene: Scene,
    there: frozenset[str] = frozenset(),
    stop: threading.Event | None = None,
) -> tuple[int, int]:
    """Do one scene and commit it in shards of at most 64 frames.

    The frames' ``source_id`` is that of `mark_of`. An operation that raises fails the frames of the scene
    that it had not given yet.

    Args:
        derivation: see `plan_derivation`.
        scene: of the parent.
        there: its frames that are committed already, and are not committed again.
        stop: when set, no frame is begun any more; what is done is committed.

    Returns:
        How many frames were labelled, and how many failed.
    """
    taxonomy, mark = scene.run.taxonomy, mark_of(scene)
    left = list(scene.frame_ids)
    records: list[FrameRecord] = []
    failures: list[Failure] = []
    counts = [0, 0]

    def commit(at_least: int) -> None:
        if len(records) + len(failures) >= at_least:
            _commit(derivation, records, failures)
            counts[0] += len(records)
            counts[1] += len(failures)
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
            failed = failure(scene.run.entry(frame_id), derivation.operation.name, error)
            failures.append(replace(failed, source_id=mark))
            commit(MAX_FRAMES)
    commit(1)
    return counts[0], counts[1]


def failure(entry: Any, stage: str, error: Exception) -> Failure:
    """A frame that an operation could not do.

    Args:
        entry: has ``frame_id`` and ``source_id``.
        stage: the operation's name.
        error: the exception, inside its ``except``.
    """
    message = str(error) if isinstance(error, FrameError) else f"frame {entry.frame_id}: {error}"
    return Failure(
        frame_id=entry.frame_id,
        source_id=entry.source_id,
        stage=stage,
        error_type=type(error).__name__,
        message=one_line(message),
        traceback=redact(traceback.format_exc())[-MAX_TRACEBACK:],
    )


def _commit(derivation: Derivation, records: Sequence[FrameRecord], failures: Sequence[Failure]) -> None:
    """Write a shard; safe to repeat, and repeated where the store fails for a moment."""
    patiently(
        lambda: write_shard(
            derivation.output,
            records,
            failures,
            fingerprint=derivation.fingerprint,
            attributes=derivation.attributes,
            only=derivation.operation.stored,
        )
    )


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
