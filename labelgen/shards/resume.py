"""What of a run is done: the plan minus this is what is left to do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labelgen.errors import UserError
from labelgen.records import Failure
from labelgen.shards.commit import set_aside
from labelgen.shards.damage import DamageError, Problem
from labelgen.shards.manifest import SHARDS, check_files, manifest_key
from labelgen.shards.resolve import load_manifests, planned_sources
from labelgen.shards.run import PLAN, read_run_info
from labelgen.shards.store import Store, open_store

FrameKey = tuple[str, str]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: (frame id, source id) of all frames with labels.
        failed: {(frame id, source id): failure} of those that only failed.
        damaged: manifests that do not count, each with what is wrong with it or its shard.
    """

    done: frozenset[FrameKey]
    failed: Mapping[FrameKey, Failure]
    damaged: tuple[Problem, ...]


def done_frames(run: Path | str | Store) -> Progress:
    """Look at all manifests of a run; changes nothing.

    A manifest counts if it is readable, has the run's fingerprint, and all files of its shard are there
    with the right sizes.

    Raises:
        UserError: no run there, or written by a later version.
    """
    return _progress(run, heal=False)


def resume(run: Path | str | Store) -> Progress:
    """As `done_frames`, and move the manifests that do not count aside, so that readers go on.

    To be called once, before planning. Nothing is deleted: ``verify --clean`` does that.
    """
    return _progress(run, heal=True)


def _set_plan_aside(store: Store) -> None:
    """Move a plan that cannot be read out of the way: the job writes it anew."""
    try:
        store.read(PLAN)
        planned_sources(store)
    except OSError:
        return  # not there, or the disk is at fault and not the file
    except UserError:
        store.move(PLAN, f"{PLAN}.damaged-{uuid.uuid4().hex[:12]}")


def _progress(run: Path | str | Store, *, heal: bool) -> Progress:
    store = open_store(run)
    fingerprint = read_run_info(store).fingerprint
    manifests, errors = load_manifests(store, fingerprint)
    damaged = [(error.problem, error.problem.where) for error in errors]
    done: set[FrameKey] = set()
    failed: dict[FrameKey, Failure] = {}
    sizes = store.sizes(SHARDS)
    for manifest in manifests:
        try:
            check_files(store, manifest, sizes)
        except DamageError as error:
            damaged.append((error.problem, manifest_key(manifest.shard_id)))
            continue
        done.update((frame.frame_id, frame.source_id) for frame in manifest.frames)
        for failure in manifest.failed:
            failed[failure.frame_id, failure.source_id] = failure
    if heal:
        _set_plan_aside(store)
        for _, key in damaged:
            set_aside(store, key, fingerprint)
    return Progress(
        frozenset(done),
        {key: failure for key, failure in failed.items() if key not in done},
        tuple(problem for problem, _ in damaged),
    )
