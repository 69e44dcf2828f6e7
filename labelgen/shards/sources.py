"""Are a run's source files still those that were labelled?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.core.errors import FrameError, UserError
from labelgen.datasets.info import DatasetInfo
from labelgen.io.store import Store
from labelgen.shards.damage import Problem
from labelgen.shards.manifest import FrameEntry, Manifest, manifest_key
from labelgen.shards.names import PLAN
from labelgen.shards.plan import read_plan
from labelgen.shards.resolve import resolve

_LARGEST = 1 << 30


def source_problems(
    store: Store, manifests: Sequence[Manifest], dataroot: Path | None = None, files: bool = True
) -> Iterator[Problem]:
    """Files that changed since their frames were labelled, and frames whose plan did.

    First the identity of a frame's sources is compared, which costs a look at size and time of its files;
    where it differs, the files' bytes are hashed and compared with what was read then, so that a copy of the
    data with other times is no change.

    Args:
        store: of the run.
        manifests: all sound ones of the run.
        dataroot: where the files are now; by default where the plan says. If that is not there, only the
            plan is compared.
        files: whether the frames' ``source_id`` is that of files; in a derived run it is not.

    Raises:
        UserError: ``dataroot`` is given and holds none of the files.
    """
    from labelgen.datasets.roots import find_root
    from labelgen.datasets.sources import with_source_ids

    if not store.exists(PLAN):
        find_root((), DatasetInfo(), dataroot, {})
        return
    try:
        frames, info = read_plan(store)
    except UserError as error:
        yield Problem("damaged-plan", PLAN, str(error))
        return
    outcomes = resolve(manifests, {frame.frame_id: frame.source_id for frame in frames})
    labelled = {
        frame_id: outcome for frame_id, outcome in outcomes.items() if isinstance(outcome.result, FrameEntry)
    }
    for frame in frames:
        outcome = labelled.get(frame.frame_id)
        if outcome is not None and frame.source_id and outcome.result.source_id != frame.source_id:
            yield Problem(
                "source-changed",
                manifest_key(outcome.manifest.shard_id),
                f"frame {frame.frame_id} was made from sources other than those the plan names; running "
                f"the same "
                "job again labels it anew",
            )
    root = find_root(frames, info, dataroot, {})  # other numbers of points are what is looked for
    if not (files and root.is_dir()):
        return
    present = [replace(frame, source_id="") for frame in frames if frame.frame_id in labelled]
    for frame in with_source_ids(root, present)[0]:
        entry = labelled[frame.frame_id].result
        if isinstance(entry, FrameEntry) and entry.source_id != frame.source_id:
            yield from _changed_files(root, entry)


def _changed_files(root: Path, entry: FrameEntry) -> Iterator[Problem]:
    from labelgen.io.paths import read_file

    for path, before in entry.source_hashes.items():
        try:
            data = read_file(root, path, entry.frame_id, _LARGEST)
        except FrameError as error:
            yield Problem("source-changed", path, str(error))
            continue
        if hashlib.blake2b(data, digest_size=16).hexdigest() != before:
            yield Problem(
                "source-changed", path, f"frame {entry.frame_id}: has changed since the frame was labelled"
            )
