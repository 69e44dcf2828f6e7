"""What of a run is done: the plan minus this is what is left to do."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.core.records import Failure
from labelgen.io.local import LocalStore
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards import suspects
from labelgen.shards.commit import check_shard, set_aside
from labelgen.shards.damage import DamageError, Problem
from labelgen.shards.manifest import FEATURES, SHARDS, Manifest, manifest_key
from labelgen.shards.plan import set_plan_aside
from labelgen.shards.resolve import load_manifests, planned_sources
from labelgen.shards.run import read_run_info

#: Bytes of shards that a call which labels reads and compares with their checksums before it begins: all of a
#: small run, and of a larger one a random choice. Those that somebody found damaged come on top, whatever
#: their size. Object stores check what they keep themselves.
CHECKED_BYTES = 128 << 20
FrameKey = tuple[str, str]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: (frame id, source id) of all frames with labels.
        failed: {(frame id, source id): failure} of those that only failed.
        damaged: what is to be set aside, or was: manifests that do not count, each with what is wrong with it
            or its shard; and a plan that cannot be read.
    """

    done: frozenset[FrameKey]
    failed: Mapping[FrameKey, Failure]
    damaged: tuple[Problem, ...]


def done_frames(
    run: Path | str | Store, *, fingerprint: str | None = None, checked_bytes: int = 0
) -> Progress:
    """Look at all manifests of a run; changes nothing.

    A manifest counts if it is readable, has the run's fingerprint, and all files of its shard are there
    with the right sizes; of shards that are marked (see `labelgen.shards.suspects`), and of as many others as
    are asked for, with the right content.

    Args:
        run: folder, address or store.
        fingerprint: of the run; by default what ``run.json`` says.
        checked_bytes: of shards on a file system that are read and compared with their checksums.

    Raises:
        UserError: no run there, or written by a later version.
    """
    return _progress(run, fingerprint, checked_bytes, heal=False)


def resume(run: Path | str | Store, *, checked_bytes: int = 0) -> Progress:
    """As `done_frames`, and move the manifests that do not count aside, so that readers go on.

    To be called once, before planning. Nothing is deleted: ``verify --clean`` does that.
    """
    return _progress(run, None, checked_bytes, heal=True)


def _plan_problem(store: Store) -> Problem | None:
    try:
        planned_sources(store)
    except DamageError as error:
        return error.problem
    return None


def _progress(
    run: Path | str | Store, fingerprint: str | None, checked_bytes: int, *, heal: bool
) -> Progress:
    store = open_store(run)
    fingerprint = read_run_info(store).fingerprint if fingerprint is None else fingerprint
    manifests, errors = load_manifests(store, fingerprint)
    damaged = [(error.problem, error.problem.where) for error in errors]
    done: set[FrameKey] = set()
    failed: dict[FrameKey, Failure] = {}
    sizes, dense_sizes = store.sizes(SHARDS), store.sizes(FEATURES)
    marked = suspects.marked(store)
    chosen = marked | _choice(manifests, checked_bytes if isinstance(store, LocalStore) else 0)
    for manifest in manifests:
        try:
            check_shard(store, manifest, sizes, dense_sizes, deep=manifest.shard_id in chosen)
        except DamageError as error:
            damaged.append((error.problem, manifest_key(manifest.shard_id)))
            continue
        done.update((frame.frame_id, frame.source_id) for frame in manifest.frames)
        for failure in manifest.failed:
            failed[failure.frame_id, failure.source_id] = failure
    plan = _plan_problem(store) if heal or checked_bytes else None
    if heal:
        try:
            if plan is not None:
                set_plan_aside(store)
            for _, key in damaged:
                set_aside(store, key, fingerprint, deep=True)
        except OSError as error:
            raise UserError(f"cannot write to {store.url}: {error.strerror or error}") from error
        for shard_id in marked:
            suspects.unmark(store, shard_id)
    return Progress(
        frozenset(done),
        {key: failure for key, failure in failed.items() if key not in done},
        tuple(problem for problem in (plan, *(problem for problem, _ in damaged)) if problem is not None),
    )


def _choice(manifests: Sequence[Manifest], most: int) -> frozenset[str]:
    """Ids of some shards that together have no more bytes."""
    chosen = []
    for manifest in random.sample(manifests, len(manifests)):
        parts = [manifest, *([apart] if (apart := manifest.apart()) else [])]
        most -= sum(size for part in parts for _, size in part.files())
        if most < 0:
            break
        chosen.append(manifest.shard_id)
    return frozenset(chosen)
