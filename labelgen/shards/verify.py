"""Checks a run on disk against its manifests and removes what killed processes left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.io.atomic import PARTIAL
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards.commit import DAMAGED
from labelgen.shards.damage import DamageError, Problem
from labelgen.shards.index import build_index, index_table, read_index
from labelgen.shards.interchange import differences
from labelgen.shards.manifest import FEATURES, MANIFESTS, SHARDS, Manifest, file_problems, manifest_key
from labelgen.shards.names import INDEX, PLAN, RUN_JSON
from labelgen.shards.reader import StoredRun
from labelgen.shards.resolve import load_manifests
from labelgen.shards.resume import resume
from labelgen.shards.run import RunInfo, read_run_info
from labelgen.shards.schema import GROUPS, required
from labelgen.shards.shard import Shard
from labelgen.shards.sources import source_problems

#: Age in seconds from which ``clean`` takes a leftover for abandoned; younger ones may be a writer's.
ABANDONED_AFTER = 3600.0


def verify(
    run: Path | str | Store,
    *,
    deep: bool = False,
    clean: bool = False,
    repair: bool = False,
    min_age: float = ABANDONED_AFTER,
    dataroot: Path | None = None,
) -> list[Problem]:
    """Compare a run with its manifests, and its source files with what was read of them.

    Args:
        run: folder of the run, or its address in an object store.
        deep: read every array, by our reader and by zarr-python, and compare it with its checksum;
            otherwise files' sizes and the tables of frames are compared.
        clean: remove leftovers (unreferenced attempts, temporary files, manifests moved aside) that are
            older than ``min_age``. Nothing that a manifest names is ever removed.
        repair: move what is damaged aside (the plan, and manifests, whose frames are then to be done anew),
            and write the index anew. A shard that is sound stays, whatever is found beside it.
        min_age: seconds since the last change of a leftover.
        dataroot: where the source files are; by default where the plan says, if that is there.

    Returns:
        All problems, those that lose no data (``Problem.harmless``) last.

    Raises:
        UserError: no run there, or ``dataroot`` is no folder, or the run cannot be written to be repaired.
    """
    store = open_store(run)
    try:
        info, problems = read_run_info(store), []
    except DamageError as error:
        problem = replace(error.problem, where=RUN_JSON, detail=f"{error.problem.detail}; {error.remedy}")
        info, problems = error.content, [problem]
    mark = None if problems or info is None else info.fingerprint
    derived = info is None or info.parent is not None
    manifests, damaged = load_manifests(store, mark)
    problems += [error.problem for error in damaged]
    sizes, dense_sizes = store.sizes(SHARDS), store.sizes(FEATURES)
    doubtful = [error.content for error in damaged if isinstance(error.content, Manifest)]
    for manifest in (*manifests, *doubtful):
        groups = () if derived else GROUPS
        problems.extend(_shard_problems(store, manifest, required(groups), sizes, deep))
        if (apart := manifest.apart()) is not None:
            problems.extend(_feature_problems(store, apart, dense_sizes, deep))
    problems.extend(_overlaps(manifests))
    if info is not None:
        problems.extend(_unknown_classes(info, manifests))
    if not damaged and mark is not None:
        problems.extend(_index_drift(store))
        problems.extend(source_problems(store, manifests, dataroot, files=not derived))
        if derived and not any(problem.kind == "damaged-plan" for problem in problems):
            problems.extend(_parent_problems(store))
    named = [*manifests, *doubtful]
    problems.extend(_leftovers(store, named, keep_attempts=bool(damaged), clean=clean, min_age=min_age))
    if repair and mark is not None and not all(problem.harmless for problem in problems):
        resume(store)
        build_index(store)
    return sorted(problems, key=lambda problem: problem.harmless)


def _parent_problems(store: Store) -> Iterator[Problem]:
    """Whether a derived run and its parent can be read together."""
    try:
        found = list(StoredRun(store).parent_problems())
    except DamageError as error:  # in the parent: a problem of this run, but none that its own job heals
        yield Problem("run", f"{error.run}/{error.problem.where}", error.problem.detail)
    except UserError as error:
        yield Problem("run", RUN_JSON, error.as_given().removeprefix(f"{store.url}/{RUN_JSON}: "))
    else:
        more = f", and {len(found) - 1} more frames" if len(found) > 1 else ""
        yield from (Problem("run", RUN_JSON, f"{first}{more}") for first in found[:1])


def _shard_problems(
    store: Store, manifest: Manifest, wanted: set[str], sizes: Mapping[str, int], deep: bool
) -> Iterator[Problem]:
    if manifest.path is None:
        return
    if missing := wanted - manifest.arrays.keys():
        yield Problem("torn-shard", manifest.path, f"the manifest names no {', '.join(sorted(missing))}")
    found = [error.problem for error in file_problems(store, manifest, sizes)]
    yield from found
    broken = [problem.where for problem in found]
    if manifest.path not in broken:  # the folder itself is there
        more = [error.problem for error in Shard(store, manifest).problems(deep=deep)]
        # One line for each damaged file, not one for each look at it.
        yield from (
            problem
            for problem in more
            if not any(file == problem.where or file.startswith(f"{problem.where}/") for file in broken)
        )
        if deep and not found and not more:
            yield from differences(store, manifest)


def _feature_problems(
    store: Store, apart: Manifest, sizes: Mapping[str, int], deep: bool
) -> Iterator[Problem]:
    """As of a shard; but all of it may have been removed, as nothing else needs it."""
    if not any(path.startswith(f"{str(apart.path).rpartition('/')[2]}/") for path in sizes):
        yield Problem("removed-features", str(apart.path), "is not there; labels and regions do not need it")
        return
    yield from _shard_problems(store, apart, {"dense/size"}, sizes, deep)


def _overlaps(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    first: dict[tuple[str, str], str] = {}
    for manifest in manifests:
        for frame in manifest.frames:
            other = first.setdefault((frame.frame_id, frame.source_id), manifest.shard_id)
            if other != manifest.shard_id:
                yield Problem(
                    "overlap",
                    f"{MANIFESTS}/{manifest.shard_id}.json",
                    f"frame {frame.frame_id} is also in {other}.json; readers use only one of them",
                )


def _unknown_classes(info: RunInfo, manifests: Sequence[Manifest]) -> Iterator[Problem]:
    classes = info.taxonomy.get("classes")
    if not isinstance(classes, list):
        return
    for manifest in manifests:
        for frame in manifest.frames:
            highest = max(frame.histogram, default=-1)
            if highest >= len(classes):
                yield Problem(
                    "unknown-class",
                    manifest_key(manifest.shard_id),
                    f"frame {frame.frame_id} has points of class {highest}; the taxonomy in {RUN_JSON} has "
                    f"{len(classes)} classes",
                )


def _index_drift(store: Store) -> Iterator[Problem]:
    if not store.exists(INDEX):
        return
    try:
        stored = read_index(store)
    except UserError as error:
        yield Problem("index-drift", INDEX, str(error))
        return
    try:
        current = index_table(store)
    except UserError:
        return  # a damaged plan, which the look at the sources names
    if not stored.equals(current):
        yield Problem(
            "index-drift",
            INDEX,
            f"{stored.num_rows} rows are not the {current.num_rows} of the manifests; "
            "`labelgen index` rebuilds it",
        )


def _leftovers(
    store: Store, manifests: Sequence[Manifest], *, keep_attempts: bool, clean: bool, min_age: float
) -> Iterator[Problem]:
    named = {manifest.path for manifest in manifests}
    named |= {manifest.features.path for manifest in manifests if manifest.features is not None}
    attempts = [f"{folder}/{name}" for folder in (SHARDS, FEATURES) for name in store.children(folder)]
    for where in attempts:
        if where.endswith(".zarr") and where not in named:
            problem = Problem("unreferenced-attempt", where, "no manifest names it")
            # A damaged manifest may be the one that names it; a person may want to repair that.
            yield _cleaned(store, problem, min_age) if clean and not keep_attempts else problem
    temporary = [
        name
        for name in store.children("")
        if name.endswith(PARTIAL) or name.startswith(f".{PLAN}.") or f"{DAMAGED}-" in name
    ]
    manifest_files = store.children(MANIFESTS)
    temporary += [f"{MANIFESTS}/{name}" for name in manifest_files if name.endswith(PARTIAL)]
    for where in sorted(temporary):
        problem = Problem("leftover", where, "an unfinished write")
        yield _cleaned(store, problem, min_age) if clean else problem
    for name in manifest_files:
        if f"{DAMAGED}-" in name and not name.endswith(PARTIAL):
            problem = Problem("set-aside", f"{MANIFESTS}/{name}", "a damaged manifest that was moved aside")
            yield _cleaned(store, problem, min_age) if clean else problem


def _cleaned(store: Store, problem: Problem, min_age: float) -> Problem:
    try:
        if time.time() - store.changed(problem.where) < min_age:
            return replace(problem, detail=f"{problem.detail}; kept: changed less than {min_age:.0f} s ago")
        store.remove(problem.where)
    except OSError as error:
        return replace(problem, detail=f"{problem.detail}; not removed: {error.strerror}")
    return replace(problem, detail=f"{problem.detail}; removed")
