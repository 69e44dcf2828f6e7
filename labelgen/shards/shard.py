"""Reads one published shard: its arrays by name and rows, and checks of what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelgen.io.place import open_store
from labelgen.io.store import Store, StoreError
from labelgen.shards import suspects
from labelgen.shards.arrayfile import ArrayFile
from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import Manifest, data_file
from labelgen.shards.schema import ARRAYS, FORMAT_VERSION, OFFSETS

_Content = TypeVar("_Content")
_ROWS_OF = {"views": "V", "regions": "R", "hits": "H"}


class Shard:
    """One shard.

    Nothing is opened before the first use, and no file stays open: objects may be pickled, forked and
    used by several threads.

    Args:
        run: folder or store of the run.
        manifest: the shard's, with a path.
    """

    def __init__(self, run: Path | str | Store, manifest: Manifest) -> None:
        if manifest.path is None:
            raise ValueError(f"manifest {manifest.shard_id} names no shard: all of its frames failed")
        self.manifest = manifest
        self.where = manifest.path
        self._store = open_store(run)
        self._table: dict[str, NDArray[Any]] = {}
        self._files: dict[str, ArrayFile] = {}
        self._metadata: dict[str, Any] | None = None
        self._noted = False
        apart = manifest.apart()
        #: The shard's dense features, or None.
        self.apart = None if apart is None else Shard(run, apart)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the root group: format, class names, text embeddings and so on."""
        attributes: dict[str, Any] = self._root()["attributes"]
        return attributes

    def has(self, name: str) -> bool:
        """Whether an array is stored here."""
        return name in self.manifest.arrays and name in ARRAYS

    def rows(self, name: str, begin: int, end: int) -> NDArray[Any]:
        """Rows ``begin`` to ``end`` of an array's first axis.

        Raises:
            KeyError: the array is not stored.
            DamageError: it is not as it was written.
        """
        return self._twice(self._key(name), lambda: self._file(name).rows(begin, end))

    def array(self, name: str) -> NDArray[Any]:
        """A whole array."""
        return self.rows(name, 0, self.manifest.arrays[name].shape[0])

    def prefetch(self, names: Iterable[str]) -> None:
        """Let whole files be read ahead, or copied here from an object store.

        Raises:
            DamageError: one cannot be had.
        """
        wanted = set(names)
        wanted |= {OFFSETS[ARRAYS[name].group] for name in wanted if ARRAYS[name].group in OFFSETS}
        self._root()
        for name in sorted(wanted):
            entry = self.manifest.arrays[name]
            if not entry.size:
                continue
            key = self._key(name)
            try:
                descriptor = self._store.open(key, entry.size)
            except StoreError:
                raise
            except OSError as error:
                raise DamageError("torn-shard", key, f"cannot be read: {error.strerror}") from error
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            os.close(descriptor)

    def blocks(self, name: str) -> Iterator[tuple[int, int]]:
        """Ranges of rows in which an array is best gone through as a whole."""
        return self._file(name).blocks()

    def span(self, group: str, row: int) -> tuple[int, int]:
        """Rows of ``views/*``, ``regions/*`` or ``hits/*`` that belong to frame ``row``."""
        offsets = self._offsets(OFFSETS[group], self._length(group))
        return int(offsets[row]), int(offsets[row + 1])

    def strings(self, name: str, begin: int, end: int) -> list[bytes]:
        """Entries ``begin`` to ``end`` of ``<name>_bytes`` and ``<name>_offsets``."""
        limit = self.manifest.arrays[f"{name}_bytes"].shape[0]
        offsets = self._checked(f"{name}_offsets", self.rows(f"{name}_offsets", begin, end + 1), limit)
        first = int(offsets[0])
        data = self.rows(f"{name}_bytes", first, int(offsets[-1])).tobytes()
        ends = (offsets - first).tolist()
        return [data[low:high] for low, high in pairwise(ends)]

    def note(self, error: DamageError) -> DamageError:
        """Say in an error which run it is about, and in the run that the shard is to be looked at again."""
        error.run = self._store.url
        if not self._noted:
            suspects.mark(self._store, self.manifest.shard_id)
            self._noted = True
        return error

    def check(self, *, deep: bool = True) -> None:
        """Read everything and compare it with the manifest.

        Args:
            deep: False reads only the table of frames.

        Raises:
            DamageError: the first thing that is not as it was written.
        """
        for problem in self.problems(deep=deep):
            raise problem

    def problems(self, *, deep: bool = True) -> list[DamageError]:
        """All that `check` would complain about, one for each array or file; of what the store holds now."""
        found: list[DamageError] = []
        checks: list[tuple[Callable[..., None], str]] = []
        if deep:
            for path, _ in self.manifest.files():
                self._store.forget(f"{self.where}/{path}")
            checks += [(self._check_metadata, path) for path in self.manifest.metadata]
            checks += [(self._check_array, name) for name in self.manifest.arrays if name in ARRAYS]
        for check, argument in [*checks, (self._check_frames, "")]:
            try:
                check(argument)
            except DamageError as error:
                if error.problem not in [other.problem for other in found]:
                    found.append(error)
        return found

    def _check_metadata(self, path: str) -> None:
        self._read(path)

    def _check_array(self, name: str) -> None:
        entry = self.manifest.arrays[name]
        if digest(self.rows(name, begin, end) for begin, end in self.blocks(name)) != entry.blake2b:
            where = f"{self.where}/{name}"
            raise self.note(DamageError("checksum", where, "values are not those that were written"))

    def _check_frames(self, _: str) -> None:
        """Frames must be those that the manifest names, and offsets must fit the arrays."""
        count = len(self.manifest.frames)
        ids = [bytes(row).rstrip(b"\0").decode("ascii", "replace") for row in self.array("frame/id")]
        points = self.array("frame/num_points")
        for entry in self.manifest.frames:
            if ids[entry.row] != entry.frame_id or points[entry.row] != entry.num_points:
                raise DamageError(
                    "torn-shard",
                    f"{self.where}/frame/id",
                    f"row {entry.row} is {ids[entry.row]!r} with {points[entry.row]} points; the manifest "
                    f"says {entry.frame_id!r} with {entry.num_points}",
                )
        for group, name in OFFSETS.items():
            if self.has(name):
                self.span(group, count - 1)

    def _length(self, group: str) -> int:
        for name, entry in self.manifest.arrays.items():
            if name in ARRAYS and ARRAYS[name].axes[0] == _ROWS_OF[group]:
                return entry.shape[0]
        raise DamageError("torn-shard", self.where, f"there is no array of {group}")

    def _offsets(self, name: str, limit: int) -> NDArray[Any]:
        if name not in self._table:
            offsets = self._checked(name, self.array(name), limit)
            if offsets[0] != 0 or offsets[-1] != limit:
                raise DamageError("torn-shard", f"{self.where}/{name}", f"does not run from 0 to {limit}")
            self._table[name] = offsets
        return self._table[name]

    def _checked(self, name: str, offsets: NDArray[Any], limit: int) -> NDArray[Any]:
        if offsets[0] < 0 or offsets[-1] > limit or (np.diff(offsets) < 0).any():
            raise DamageError("torn-shard", f"{self.where}/{name}", f"does not ascend within 0 to {limit}")
        return offsets

    def _file(self, name: str) -> ArrayFile:
        if name not in self._files:
            entry, spec = self.manifest.arrays[name], ARRAYS[name]
            where = f"{self.where}/{name}"
            metadata = self._root()["consolidated_metadata"]["metadata"].get(name)
            if not isinstance(metadata, dict):
                raise DamageError("torn-shard", where, "is not in the shard's consolidated metadata")
            self._files[name] = ArrayFile(
                partial(self._store.open, self._key(name), entry.size),
                where,
                spec=spec,
                metadata=metadata,
                dtype=entry.dtype,
                shape=entry.shape,
                size=entry.size,
            )
        return self._files[name]

    def _key(self, name: str) -> str:
        return f"{self.where}/{data_file(name, len(self.manifest.arrays[name].shape))}"

    def _root(self) -> dict[str, Any]:
        if self._metadata is None:
            where = f"{self.where}/zarr.json"
            if not self._store.inside(self.where):
                raise DamageError("torn-shard", self.where, "is a link that leaves the run's folder")
            raw = self._read("zarr.json")
            try:
                root = json.loads(raw)
                version = root["attributes"]["format_version"]
                if version != FORMAT_VERSION:
                    raise ValueError(
                        f"attributes.format_version is {version!r}; {FORMAT_VERSION} is expected"
                    )
                if root["attributes"]["fingerprint"] != self.manifest.fingerprint:
                    raise ValueError("attributes.fingerprint is not the manifest's")
                if not isinstance(root["consolidated_metadata"]["metadata"], dict):
                    raise ValueError("no consolidated metadata")
                _check_attributes(root["attributes"])
            except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
                raise DamageError("torn-shard", where, f"{type(error).__name__}: {error}") from error
            self._metadata = root
        return self._metadata

    def _read(self, path: str) -> bytes:
        return self._twice(f"{self.where}/{path}", lambda: self._checked_file(path))

    def _twice(self, key: str, read: Callable[[], _Content]) -> _Content:
        """What is read of a file. A damaged copy of it says nothing of the store: it is fetched anew."""
        try:
            return read()
        except DamageError as error:
            if not self._store.forget(key):
                self.note(error)
                raise
        self._files.clear()
        try:
            return read()
        except DamageError as error:
            self.note(error)
            raise

    def _checked_file(self, path: str) -> bytes:
        """A metadata file, compared with its hash."""
        where, entry = f"{self.where}/{path}", self.manifest.metadata[path]
        try:
            descriptor = self._store.open(where, entry.size)
            try:
                raw = os.pread(descriptor, entry.size + 1, 0)
            finally:
                os.close(descriptor)
        except StoreError:
            raise  # that says nothing of the file
        except OSError as error:
            raise DamageError("torn-shard", where, f"cannot be read: {error.strerror}") from error
        if hashlib.blake2b(raw, digest_size=16).hexdigest() != entry.blake2b:
            raise DamageError("checksum", where, "is not as it was written")
        return raw


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    """Those that come from the run."""
    names, encoder, embeddings = (
        attributes.get(name) for name in ("class_names", "text_encoder", "text_embeddings")
    )
    if not (names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names))):
        raise ValueError("attributes.class_names: texts are expected")
    if not (encoder is None or isinstance(encoder, dict)):
        raise ValueError("attributes.text_encoder: a mapping is expected")
    if embeddings is not None:
        values = np.asarray(embeddings, np.float64)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError("attributes.text_embeddings: rows of numbers are expected")


def digest(parts: Iterable[NDArray[Any]]) -> str:
    """Hash (blake2b, 128 bits) of an array's values: C order, little-endian, padding included.

    Args:
        parts: its rows, in order.
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        ordered = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))
        found.update(ordered.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
