"""Reads runs: frames by id with lazy fields, and all frames shard by shard."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import Failure
from labelgen.io.local import LocalStore
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards.damage import DamageError
from labelgen.shards.frames import Layers, StoredFrame
from labelgen.shards.manifest import FrameEntry, Manifest
from labelgen.shards.names import RUN_JSON
from labelgen.shards.point_features import FeatureSource
from labelgen.shards.resolve import load_manifests, planned_sources, resolve
from labelgen.shards.run import read_run_info
from labelgen.shards.shard import Shard

_KEPT_SHARDS = 64
_MOST_PARENTS = 16
_DERIVE = "run the parent's job again, or derive anew"


class StoredRun:
    """What is stored of a run, as its manifests describe it at the time of opening.

    Only manifests are read; shards are opened when a field is asked for. `labelgen.open_run` gives what the
    data set has besides, too.

    Args:
        path: folder of the run, or its address.
        laid_over: derived runs that it is a parent of.

    Raises:
        UserError: no run there, written by a later version, or something in it is damaged (names file
            and field).

    Attributes:
        path: folder of the run, or the local mirror of a remote one.
        store: where its files are.
        url: the folder or the address, as messages name it.
        info: content of ``run.json``.
        parent: the run that this one is laid over, or None.
        frames: ids of all labelled frames, by scene, then time.
        failures: {frame id: failure} of the frames that could not be labelled.
    """

    def __init__(self, path: Path | str | Store, laid_over: tuple[Path, ...] = ()) -> None:
        self.store = open_store(path)
        self.path, self.url = self.store.folder, self.store.url
        self.info = read_run_info(self.store)
        self.parent = self._open_parent((*laid_over, self.path.resolve()))
        manifests, damaged = load_manifests(self.store, self.info.fingerprint)
        if damaged:
            raise explained(self.store, damaged[0])
        outcomes = resolve(manifests, planned_sources(self.store))
        self._manifests = {manifest.shard_id: manifest for manifest in manifests}
        self._entries: dict[str, tuple[str, FrameEntry]] = {}
        self.failures: dict[str, Failure] = {}
        for frame_id, outcome in outcomes.items():
            if isinstance(outcome.result, Failure):
                self.failures[frame_id] = outcome.result
            else:
                self._entries[frame_id] = (outcome.manifest.shard_id, outcome.result)
        order = sorted(
            self._entries.values(), key=lambda at: (at[1].scene_id, at[1].timestamp_us, at[1].frame_id)
        )
        self.frames: tuple[str, ...] = tuple(entry.frame_id for _, entry in order)
        self._shards: OrderedDict[str, Shard] = OrderedDict()

    def __len__(self) -> int:
        return len(self.frames)

    def __contains__(self, frame_id: object) -> bool:
        return frame_id in self._entries

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, {len(self.frames)} frames, {len(self.failures)} failed)"

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return PurePosixPath(self.url).name or self.path.resolve().name

    @property
    def num_points(self) -> dict[str, int]:
        """{frame id: points} of all labelled frames."""
        return {frame_id: entry.num_points for frame_id, (_, entry) in self._entries.items()}

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All manifests, sorted by shard id."""
        return tuple(self._manifests.values())

    def entry(self, frame_id: str) -> FrameEntry:
        """What the manifest says of a frame, without opening its shard.

        Raises:
            UserError: the run has no such frame, or it failed; says which.
        """
        if frame_id in self._entries:
            return self._entries[frame_id][1]
        if frame_id in self.failures:
            failure = self.failures[frame_id]
            raise UserError(
                f"frame {frame_id} failed in {failure.stage}: {failure.error_type}: {failure.message}"
            )
        raise UserError(f"{self.url} has no frame {frame_id!r}; `labelgen inspect` lists its frames")

    def frame(self, frame_id: str) -> StoredFrame:
        """One frame, whose fields are read when they are asked for.

        Raises:
            UserError: the run has no such frame, or it failed.
        """
        return StoredFrame(*self._parts(frame_id))

    def _parts(self, frame_id: str) -> tuple[FrameEntry, Layers, Layers]:
        layers = list(self._layers(frame_id))
        apart = [(shard.apart, row) for shard, row in layers if shard.apart is not None]
        return self.entry(frame_id), layers, apart

    def point_features(self, frame_id: str, source: FeatureSource = "regions") -> NDArray[np.float16]:
        """(N, D) float16 feature of every point of a frame; see `StoredFrame.point_features`.

        Raises:
            UserError: no such frame; or the run stores no dense features, which were asked for.
        """
        return self.frame(frame_id).point_features(source)

    def stream(self) -> Iterator[StoredFrame]:
        """All frames, shard after shard: the order in which they are read fastest."""
        for shard in self.shards():
            for frame_id in shard:
                yield self.frame(frame_id)

    @property
    def arrays(self) -> frozenset[str]:
        """Names of the arrays that every labelled frame has, here or in a parent."""
        held = {shard_id for shard_id, _ in self._entries.values()}
        own = [
            {*manifest.arrays, *(manifest.features.arrays if manifest.features else ())}
            for manifest in (self._manifests[shard_id] for shard_id in held)
        ]
        above = frozenset() if self.parent is None else self.parent.arrays
        return frozenset(set.intersection(*map(set, own))) | above if own else above

    def shards(self, frames: Iterable[str] | None = None) -> list[list[str]]:
        """Ids of frames, shard by shard.

        Args:
            frames: those to be listed; all by default.

        Raises:
            UserError: the run has no such frame, or it failed.
        """
        wanted = self._entries.keys() if frames is None else {self.entry(f).frame_id for f in frames}
        listed = (
            [
                entry.frame_id
                for entry in manifest.frames
                if entry.frame_id in wanted and self._entries.get(entry.frame_id, ("",))[0] == shard_id
            ]
            for shard_id, manifest in self._manifests.items()
        )
        return [shard for shard in listed if shard]

    def prefetch(self, frame_id: str, names: Iterable[str]) -> None:
        """Ask for arrays of a frame's shards as a whole: of the disk, or of the object store."""
        missing = list(names)
        layers = [shard for shard, _ in self._layers(frame_id)]
        for shard in [*layers, *(shard.apart for shard in layers if shard.apart is not None)]:
            shard.prefetch([name for name in missing if shard.has(name)])
            missing = [name for name in missing if not shard.has(name)]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_shards": OrderedDict()}  # what was read stays here

    def _layers(self, frame_id: str) -> Iterator[tuple[Shard, int]]:
        entry = self.entry(frame_id)
        yield self._shard(self._entries[frame_id][0]), entry.row
        if self.parent is not None:
            if problem := self._unlike_parent(entry):
                raise DamageError("run", self.url, problem, _DERIVE)
            yield from self.parent._layers(frame_id)

    def _shard(self, shard_id: str) -> Shard:
        shard = self._shards.pop(shard_id, None) or Shard(self.store, self._manifests[shard_id])
        self._shards[shard_id] = shard  # the last one used stands last
        if len(self._shards) > _KEPT_SHARDS:
            self._shards.popitem(last=False)
        return shard

    def parent_problems(self) -> Iterator[str]:
        """What keeps frames from being read together with the parent's."""
        if self.parent is not None:
            for _, entry in self._entries.values():
                if problem := self._unlike_parent(entry):
                    yield problem

    def _unlike_parent(self, entry: FrameEntry) -> str | None:
        assert self.parent is not None
        if entry.frame_id not in self.parent:
            return f"the parent run {self.parent.url} has no frame {entry.frame_id}"
        points = self.parent.entry(entry.frame_id).num_points
        if points == entry.num_points:
            return None
        return f"frame {entry.frame_id} has {points} points in {self.parent.url}, but {entry.num_points} here"

    def _open_parent(self, above: tuple[Path, ...]) -> StoredRun | None:
        if self.info.parent is None:
            return None
        field = f"{self.url}/{RUN_JSON}: parent.path"
        store = open_store(self.store.beside(self.info.parent.path))
        if store.folder.resolve() in above:
            raise UserError(f"{field}: the run is its own parent")
        if len(above) > _MOST_PARENTS:
            raise UserError(f"{field}: more than {_MOST_PARENTS} runs, each derived from the next")
        if not store.exists(RUN_JSON):
            here = f" ({self.url} is a link to {self.path.resolve()})" if self.path.is_symlink() else ""
            raise UserError(
                f"{field}: the parent run is gone: there is none at {store.url}{here}; bring it back, "
                "or derive anew"
            )
        parent = self._beside(store, above)
        if parent.info.fingerprint != self.info.parent.fingerprint:
            raise UserError(
                f"{self.url}/{RUN_JSON}: parent.fingerprint: {self.info.parent.fingerprint} is not "
                f"{parent.info.fingerprint} of {store.url}; the parent was replaced: derive anew"
            )
        return parent

    def _beside(self, store: Store, laid_over: tuple[Path, ...]) -> StoredRun:
        """Open another run in the same way."""
        return StoredRun(store, laid_over)


def explained(store: Store, error: DamageError) -> DamageError:
    """An error about a manifest, with what is wrong with its shard, too, where that can be seen here."""
    manifest = error.content
    if isinstance(manifest, Manifest) and manifest.path is not None and isinstance(store, LocalStore):
        for found in Shard(store, manifest).problems():
            problem = error.problem
            also = f"{problem.detail}; and {found.problem.where}: {found.problem.detail}"
            error.problem = replace(problem, detail=also)
            break
    return error
