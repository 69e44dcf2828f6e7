"""Sources count by content: a frame whose files only got other times is done, one that changed is counted.

A frame's ``source_id`` says sizes and times of its files (`labelgen.datasets.sources`), since a plan cannot
read hundreds of gigabytes. Where it is not the one that the frame was labelled under, the plan of then says
whether calibration and pose are the same, and the hashes that the labelling took whether the files are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from labelgen.core.errors import FrameError, UserError
from labelgen.core.frame import Frame
from labelgen.datasets.images import IMAGE_LIMIT
from labelgen.datasets.loading import CLOUD_LIMIT
from labelgen.datasets.sources import differs, with_source_ids
from labelgen.io.paths import digest, read_file
from labelgen.io.store import Store
from labelgen.shards import Progress, read_plan
from labelgen.shards.manifest import FrameEntry
from labelgen.shards.resolve import load_manifests
from labelgen.shards.run import read_run_info

#: {source id of files as they are now: the one that equal files were labelled under}
SAME = "sources.json"
_THREADS, _LARGEST = 16, 64 << 20
_Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
#: Shows how far something of so many parts is, under a text; gives a function that adds to the count.
Bar = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


def no_bar(total: int, text: str) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda count: None)


class _Same(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    format: Literal["labelgen-sources"] = "labelgen-sources"
    same: dict[_Id, _Id] = {}


@dataclass(frozen=True)
class Change:
    """A frame that is labelled anew.

    Attributes:
        frame_id: of it.
        what: changed, in words.
        path: of the file that did; empty if none.
    """

    frame_id: str
    what: str
    path: str = ""

    def __str__(self) -> str:
        return f"frame {self.frame_id}" + (f": {self.path}" if self.path else "")


@dataclass(frozen=True)
class Settled:
    """Planned frames, each with the identity of its sources that the run knows.

    Attributes:
        frames: all that were given, in their order.
        changed: those of them that are labelled, from other sources.
        unseen: ids of frames that may have changed and were not looked at.
        same: what was found to be equal, for `keep`.
    """

    frames: tuple[Frame, ...]
    changed: tuple[Change, ...] = ()
    unseen: frozenset[str] = frozenset()
    same: Mapping[str, str] = field(default_factory=dict)


def settle(
    store: Store,
    root: Path,
    frames: Sequence[Frame],
    chosen: Collection[str],
    progress: Progress,
    bar: Bar = no_bar,
) -> Settled:
    """Find the frames that are labelled already though their files have other times.

    Args:
        store: of the run, which `progress` is of.
        root: the data root.
        frames: of the plan, with the identity of their sources as they are now.
        chosen: ids of the frames whose files are read where that has to be; the others keep what the run
            knows of them.
        progress: of the run.
        bar: shows how many frames are compared.
    """
    held = progress.done | progress.failed.keys()
    moved = [frame for frame in frames if (frame.frame_id, frame.source_id) not in held]
    stored = _labelled_before({frame.frame_id for frame in moved}, store, progress)
    known = _read_same(store) if stored else {}
    settled: dict[str, Frame] = {}
    changed, doubtful, unseen = [], [], set()
    for now in moved:
        if (before := stored.get(now.frame_id)) is None:
            continue
        if what := differs(before, now):
            changed.append(Change(now.frame_id, what))
        elif known.get(now.source_id) == before.source_id:
            settled[now.frame_id] = before
        elif now.frame_id not in chosen:
            unseen.add(now.frame_id)
            settled[now.frame_id] = before
        else:
            doubtful.append(now)
    same: dict[str, str] = {}
    for now, change in _compare(store, root, doubtful, stored, bar):
        if change is not None:
            changed.append(change)
            continue
        settled[now.frame_id] = stored[now.frame_id]
        same[now.source_id] = stored[now.frame_id].source_id
    named = tuple(
        replace(frame, source_id=settled[frame.frame_id].source_id) if frame.frame_id in settled else frame
        for frame in frames
    )
    return Settled(named, tuple(changed), frozenset(unseen), same)


def keep(store: Store, same: Mapping[str, str]) -> None:
    """Leave what `settle` found to be equal in the run, so that the next call need not read the files.

    Raises:
        OSError: that cannot be written.
    """
    if same:
        content = _Same(same={**_read_same(store), **same})
        store.replace(SAME, content.model_dump_json(indent=1).encode())


def describe(changes: Sequence[Change]) -> str:
    """What changed, in one line; empty for nothing."""
    if not changes:
        return ""
    kinds = Counter(change.what for change in changes)
    first = {change.what: change for change in reversed(changes)}
    told = [f"{what} ({count}, such as {first[what]})" for what, count in kinds.most_common()]
    who = f"{len(changes)} frames are labelled anew, as their"
    if len(changes) == 1:
        who = "1 frame is labelled anew, as its"
    return f"{who} sources changed since: {'; '.join(told)}"


def _labelled_before(wanted: set[str], store: Store, progress: Progress) -> dict[str, Frame]:
    """{frame id: as the run's plan has it} of those that are labelled under the sources of that plan."""
    if wanted.isdisjoint(frame_id for frame_id, _ in progress.done):
        return {}
    try:
        frames, _ = read_plan(store)
    except UserError:
        return {}  # gone or damaged: nothing says what calibration was
    return {
        frame.frame_id: frame
        for frame in frames
        if frame.frame_id in wanted and (frame.frame_id, frame.source_id) in progress.done
    }


def _compare(
    store: Store, root: Path, frames: Sequence[Frame], stored: Mapping[str, Frame], bar: Bar
) -> Iterator[tuple[Frame, Change | None]]:
    """Each frame with what changed of its files since it was labelled."""
    if not frames:
        return
    manifests, _ = load_manifests(store, read_run_info(store).fingerprint)
    entries = {(entry.frame_id, entry.source_id): entry for one in manifests for entry in one.frames}

    def change(frame: Frame) -> Change | None:
        return _changed(root, frame, entries[frame.frame_id, stored[frame.frame_id].source_id])

    with bar(len(frames), "comparing files") as advance, ThreadPoolExecutor(_THREADS) as pool:
        try:
            for frame, found in zip(frames, pool.map(change, frames), strict=True):
                advance(1)
                yield frame, found
        finally:
            pool.shutdown(cancel_futures=True)  # who interrupts this does not wait for all of them


def _changed(root: Path, frame: Frame, entry: FrameEntry) -> Change | None:
    ((computed,), _) = with_source_ids(root, [replace(frame, source_id="")], threads=1)
    if computed.source_id != frame.source_id:
        return Change(frame.frame_id, "source_id, which the data set gives")
    files = [("LiDAR file", frame.lidar_path, CLOUD_LIMIT)]
    files += [("image", camera.image_path, IMAGE_LIMIT) for camera in frame.cameras]
    for what, path, limit in files:
        try:
            now = digest(read_file(root, path, frame.frame_id, limit))
        except FrameError:
            now = None  # as it was, if the frame was labelled without it
        if now != entry.source_hashes.get(path.encode("utf-8", "replace").decode()):
            return Change(frame.frame_id, what, path)
    return None


def _read_same(store: Store) -> dict[str, str]:
    try:
        content = store.read(SAME, _LARGEST + 1)
        return _Same.model_validate_json(content).same if len(content) <= _LARGEST else {}
    except (OSError, ValueError):
        return {}
