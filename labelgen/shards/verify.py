"""Checks a run on disk against its manifests and removes what killed processes left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.errors import UserError
from labelgen.shards.atomic import PARTIAL
from labelgen.shards.commit import DAMAGED
from labelgen.shards.damage import Problem
from labelgen.shards.index import index_table, read_index
from labelgen.shards.interchange import differences
from labelgen.shards.manifest import MANIFESTS, SHARDS, Manifest, file_problems
from labelgen.shards.resolve import load_manifests
from labelgen.shards.run import INDEX, PLAN, RunInfo, read_run_info
from labelgen.shards.schema import GROUPS, required
from labelgen.shards.shard import Shard

#: Age in seconds from which ``clean`` takes a leftover for abandoned; younger ones may be a writer's.
ABANDONED_AFTER = 3600.0


def verify(
    run: Path, *, deep: bool = False, clean: bool = False, min_age: float = ABANDONED_AFTER
) -> list[Problem]:
    """Compare a run with its manifests.

    Args:
        run: folder of the run.
        deep: read every array, by our reader and by zarr-python, and compare it with its checksum;
            otherwise files' sizes and the tables of frames are compared.
        clean: remove leftovers (unreferenced attempts, temporary files, manifests moved aside) that are
            older than ``min_age``. Nothing that a manifest names is ever removed.
        min_age: seconds since the last change of a leftover.

    Returns:
        All problems, those that lose no data (``Problem.harmless``) last.

    Raises:
        UserError: no run there.
    """
    info = read_run_info(run)
    manifests, damaged = load_manifests(run, info.fingerprint)
    problems = [error.problem for error in damaged]
    for manifest in manifests:
        problems.extend(_shard_problems(run, info, manifest, deep))
    problems.extend(_overlaps(manifests))
    if not damaged:
        problems.extend(_index_drift(run))
    problems.extend(_leftovers(run, manifests, keep_attempts=bool(damaged), clean=clean, min_age=min_age))
    return problems


def _shard_problems(run: Path, info: RunInfo, manifest: Manifest, deep: bool) -> Iterator[Problem]:
    if manifest.path is None:
        return
    if info.parent is None and (missing := required(GROUPS) - manifest.arrays.keys()):
        yield Problem("torn-shard", manifest.path, f"the manifest names no {', '.join(sorted(missing))}")
    found = [error.problem for error in file_problems(run, manifest)]
    yield from found
    broken = [problem.where for problem in found]
    if manifest.path not in broken:  # the folder itself is there
        more = [error.problem for error in Shard(run, manifest).problems(deep=deep)]
        # One line for each damaged file, not one for each look at it.
        yield from (
            problem
            for problem in more
            if not any(file == problem.where or file.startswith(f"{problem.where}/") for file in broken)
        )
        if deep and not found and not more:
            yield from differences(run, manifest)


def _overlaps(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    first: dict[tuple[str, str], str] = {}
    for manifest in manifests:
        for frame in manifest.frames:
            other = first.setdefault((frame.frame_id, frame.source_id), manifest.shard_id)
            if other != manifest.shard_id:
                yield Problem(
                    "overlap",
                    f"{MANIFESTS}/{manifest.shard_id}.json",
                    f"frame {frame.frame_id} is also in {other}.json; readers take one of them",
                )


def _index_drift(run: Path) -> Iterator[Problem]:
    if not (run / INDEX).exists():
        return
    try:
        stored = read_index(run)
    except UserError as error:
        yield Problem("index-drift", INDEX, str(error))
        return
    current = index_table(run)
    if not stored.equals(current):
        yield Problem(
            "index-drift",
            INDEX,
            f"{stored.num_rows} rows are not the {current.num_rows} of the manifests; "
            "`labelgen index` rebuilds it",
        )


def _leftovers(
    run: Path, manifests: Sequence[Manifest], *, keep_attempts: bool, clean: bool, min_age: float
) -> Iterator[Problem]:
    named = {manifest.path for manifest in manifests}
    for path in sorted((run / SHARDS).glob("*.zarr")):
        where = f"{SHARDS}/{path.name}"
        if where not in named:
            problem = Problem("unreferenced-attempt", where, "no manifest names it")
            # A damaged manifest may be the one that names it; a person may want to repair that.
            yield _cleaned(path, problem, min_age) if clean and not keep_attempts else problem
    temporary = [path for folder in (run, run / MANIFESTS) for path in folder.glob(f"*{PARTIAL}")]
    temporary += run.glob(f".{PLAN}.*")
    for path in sorted(temporary):
        problem = Problem("leftover", path.relative_to(run).as_posix(), "a write that did not end")
        yield _cleaned(path, problem, min_age) if clean else problem
    for path in sorted((run / MANIFESTS).glob(f"*{DAMAGED}-*")):
        problem = Problem(
            "set-aside", path.relative_to(run).as_posix(), "a damaged manifest that was moved aside"
        )
        yield _cleaned(path, problem, min_age) if clean else problem


def _cleaned(path: Path, problem: Problem, min_age: float) -> Problem:
    try:
        newest = max(part.lstat().st_mtime for part in (path, *path.rglob("*")))
        if time.time() - newest < min_age:
            return replace(problem, detail=f"{problem.detail}; kept: changed less than {min_age:.0f} s ago")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        return replace(problem, detail=f"{problem.detail}; not removed: {error.strerror}")
    return replace(problem, detail=f"{problem.detail}; removed")
