"""The commit record of one shard: its content as data, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from labelgen.core.records import Failure
from labelgen.io.seal import sealed_json
from labelgen.io.store import Store, StoreError
from labelgen.shards.damage import DamageError
from labelgen.shards.documents import LARGEST_JSON, ChecksumError, parse_model
from labelgen.shards.schema import ARRAYS, FORMAT_VERSION, MAX_FRAMES, check_shapes

MANIFESTS = "manifests"
SHARDS = "shards"
FEATURES = "features"

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_ShardId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
#: Of all JSON files; a strict integer, so that neither true nor "1" passes.
Version = Annotated[int, Field(ge=FORMAT_VERSION, le=FORMAT_VERSION)]
# Sizes and offsets are 64-bit numbers, points of a frame 32-bit ones, in the files and in the index.
_Count = Annotated[int, Field(ge=0, lt=2**48)]
_Points = Annotated[int, Field(ge=0, lt=2**31)]
_Time = Annotated[int, Field(ge=-(2**62), le=2**62)]
_Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Name = Annotated[str, StringConstraints(max_length=1024)]
_LONGEST = 1 << 16
_Text = Annotated[str, StringConstraints(max_length=_LONGEST)]
_Shape = Annotated[tuple[_Count, ...], Field(max_length=8)]
_Byte = Annotated[int, Field(ge=0, le=255)]


def _is_histogram(text: str) -> str:
    numbers = text.split(" ")
    if len(numbers) != 256 or not all(number.isdecimal() and len(number) < 19 for number in numbers):
        raise ValueError("256 counts are expected")
    return text


_Histogram = Annotated[str, StringConstraints(max_length=5120), AfterValidator(_is_histogram)]
# Becomes part of the names of files and claims.
_FrameId = Annotated[str, StringConstraints(pattern=r"^[ -.0-\[\]-~]{1,64}$")]
# Names become paths below the shard's folder: nothing but these characters, no dots.
_ArrayName = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9_]+$")]
_MetadataPath = Annotated[str, StringConstraints(pattern=r"^([a-z]+/([a-z0-9_]+/)?)?zarr\.json$")]


class _Part(BaseModel):
    # Unknown fields are passed over: a later writer may add some without raising the format version.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class FrameEntry(_Part):
    """One labelled frame: where it is in the shard, and what can be known without opening it."""

    frame_id: _FrameId
    source_id: _Name
    scene_id: _Name
    timestamp_us: _Time
    row: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    num_points: _Points
    status: Literal["ok", "partial"]
    labelled: _Points
    #: {class id: points}, without the unlabelled.
    histogram: dict[_Byte, _Points]
    notes: tuple[_Text, ...] = ()
    source_hashes: dict[_Text, _Name] = {}
    seconds: dict[_Name, _Seconds] = {}
    num_views: _Count | None = None
    num_regions: _Count | None = None
    #: {reason: points}
    reasons: dict[_Byte, _Count] | None = None
    #: {class id: sum of the confidence, 0..255 each, of its points}
    confidence_sums: dict[_Byte, _Count] | None = None
    #: 256 numbers: labelled points by confidence. One text, since a run has tens of thousands of them.
    confidence_counts: _Histogram | None = None


class ArrayEntry(_Part):
    """One array: ``size`` is its data file's, ``blake2b`` (128 bits) that of its values in C order."""

    dtype: Annotated[str, StringConstraints(max_length=16)]
    shape: _Shape
    size: _Count
    blake2b: _Digest


class MetadataEntry(_Part):
    """One ``zarr.json``: size and hash of the file."""

    size: Annotated[int, Field(ge=0, le=12 << 20)]
    blake2b: _Digest


class Features(_Part):
    """The part of a shard that stands apart, below ``features/``: dense features."""

    path: str
    arrays: dict[_ArrayName, ArrayEntry]
    metadata: dict[_MetadataPath, MetadataEntry]


class Manifest(_Part):
    """What one published group of at most 64 frames became."""

    format: Literal["labelgen-manifest"]
    format_version: Version
    shard_id: _ShardId
    fingerprint: _Name
    attempt: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    created: _Name
    tools: dict[_Name, _Name]
    #: Folder of the shard relative to the run; None if every frame failed.
    path: str | None
    frames: tuple[FrameEntry, ...]
    failed: tuple[Failure, ...]
    arrays: dict[_ArrayName, ArrayEntry]
    metadata: dict[_MetadataPath, MetadataEntry]
    #: None in a run without dense features.
    features: Features | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [frame.frame_id for frame in self.frames] + [failure.frame_id for failure in self.failed]
        if not 1 <= len(ids) <= MAX_FRAMES or len(set(ids)) != len(ids):
            raise ValueError(f"frames and failed must name 1 to {MAX_FRAMES} different frames")
        if [frame.row for frame in self.frames] != list(range(len(self.frames))):
            raise ValueError("frames: rows must count from 0 in order")
        if any(len(str(text)) > _LONGEST for failure in self.failed for text in vars(failure).values()):
            raise ValueError(f"failed: a text of more than {_LONGEST} characters")
        self._check_features()
        if self.path is None:
            if self.frames or self.arrays:
                raise ValueError("path: there are frames, but no shard")
            return self
        # A name of its own below shards/ and nothing else: no "..", no absolute path.
        if self.path != shard_path(self.shard_id, self.attempt):
            want = shard_path(self.shard_id, self.attempt)
            raise ValueError(f"path: {self.path!r} is not {want!r}, which shard_id and attempt make")
        if "zarr.json" not in self.metadata:
            raise ValueError("metadata: zarr.json is missing")
        try:
            check_shapes({name: (entry.dtype, entry.shape) for name, entry in self.arrays.items()})
        except ValueError as error:
            raise ValueError(f"arrays: {error}") from error
        if self.arrays["frame/id"].shape[0] != len(self.frames):
            raise ValueError(f"arrays: frame/id has not {len(self.frames)} rows")
        self._check_points()
        return self

    def _check_points(self) -> None:
        room = [e.shape[1] for name, e in self.arrays.items() if name in ARRAYS and "N" in ARRAYS[name].axes]
        for frame in self.frames:
            if frame.num_points > min(room, default=frame.num_points):
                raise ValueError(f"frames: {frame.frame_id} has more points than the arrays have room for")
            if not sum(frame.histogram.values()) == frame.labelled <= frame.num_points:
                raise ValueError(f"frames: {frame.frame_id}: labelled is not the sum of histogram")

    def _check_features(self) -> None:
        if self.features is None:
            return
        want = features_path(self.shard_id, self.attempt)
        if self.path is None or self.features.path != want:
            raise ValueError(f"features.path: {self.features.path!r} is not {want!r}")
        arrays = self.features.arrays
        if "zarr.json" not in self.features.metadata or "frame/id" not in arrays:
            raise ValueError("features: zarr.json or frame/id is missing")
        try:
            check_shapes({name: (entry.dtype, entry.shape) for name, entry in arrays.items()})
        except ValueError as error:
            raise ValueError(f"features.arrays: {error}") from error
        if arrays["frame/id"].shape[0] != len(self.frames):
            raise ValueError(f"features.arrays: frame/id has not {len(self.frames)} rows")

    def apart(self) -> Manifest | None:
        """The dense features as a shard of their own, with the same frames; None where there are none."""
        if self.features is None:
            return None
        part = self.features
        return self.model_copy(
            update={"path": part.path, "arrays": part.arrays, "metadata": part.metadata, "features": None}
        )

    def to_json(self) -> bytes:
        """As stored."""
        return sealed_json(self.model_dump(mode="json"))

    def files(self) -> Iterator[tuple[str, int]]:
        """All files of the shard: path below its folder, size in bytes."""
        for path, metadata in self.metadata.items():
            yield path, metadata.size
        for name, array in self.arrays.items():
            if array.size:
                yield data_file(name, len(array.shape)), array.size


def shard_path(shard_id: str, attempt: str) -> str:
    """Folder of one attempt, relative to the run."""
    return f"{SHARDS}/{shard_id}-{attempt}.zarr"


def features_path(shard_id: str, attempt: str) -> str:
    """Folder of one attempt's dense features, relative to the run."""
    return f"{FEATURES}/{shard_id}-{attempt}.zarr"


def data_file(name: str, axes: int) -> str:
    """The only data file of an array, relative to the shard."""
    return "/".join([name, "c", *["0"] * axes])


def manifest_key(shard_id: str) -> str:
    """Where the manifest of a shard is published."""
    return f"{MANIFESTS}/{shard_id}.json"


def read_manifest(
    store: Store, key: str, *, fingerprint: str | None = None, name: str | None = None
) -> Manifest:
    """Read and check one manifest.

    Args:
        store: of the run.
        key: of the file.
        fingerprint: if given, the manifest must have it.
        name: that the file was published under, if it is not there any more.

    Raises:
        DamageError: not readable as a manifest, or not of this run; names file and field.
        UserError: written by a later version of labelgen.
    """
    (raw,) = store.read_all([key], LARGEST_JSON + 1)
    return parse_manifest(raw, key, fingerprint=fingerprint, name=name)


def parse_manifest(
    raw: bytes | OSError, key: str, *, fingerprint: str | None = None, name: str | None = None
) -> Manifest:
    """As `read_manifest`, of a content that was read, or of the error that took its place."""
    where = f"{MANIFESTS}/{key.rpartition('/')[2]}"
    try:
        if isinstance(raw, OSError):
            raise raw
        manifest = parse_model(raw, Manifest, where)
    except StoreError:
        raise  # that says nothing of the file
    except (OSError, ValueError) as error:
        damage = DamageError("damaged-manifest", where, str(error))
        damage.content = error.content if isinstance(error, ChecksumError) else None
        raise damage from error
    if f"{manifest.shard_id}.json" != (name or key.rpartition("/")[2]):
        raise DamageError("damaged-manifest", where, f"shard_id: {manifest.shard_id} is not the file's name")
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise DamageError(
            "foreign-manifest", where, f"fingerprint: {manifest.fingerprint} is not the run's, {fingerprint}"
        )
    return manifest


def list_manifests(store: Store) -> list[str]:
    """Keys of the published manifests, sorted."""
    names = (name for name in store.children(MANIFESTS) if re.fullmatch(r"[0-9a-f]{16}\.json", name))
    return [f"{MANIFESTS}/{name}" for name in names]


def check_files(store: Store, manifest: Manifest, sizes: Mapping[str, int] | None = None) -> None:
    """Check that the shard lies inside the run's folder and that all its files have the right size.

    Args:
        store: of the run.
        manifest: of the shard.
        sizes: what `Store.sizes` says of `SHARDS`, if it is known already.

    Raises:
        DamageError: naming the first file that is missing or of another size.
    """
    for problem in file_problems(store, manifest, sizes):
        raise problem


def file_problems(
    store: Store, manifest: Manifest, sizes: Mapping[str, int] | None = None
) -> Iterator[DamageError]:
    """All that `check_files` would complain about."""
    if manifest.path is None:
        return
    if not store.inside(manifest.path):
        yield DamageError("torn-shard", manifest.path, "is a link that leaves the run's folder")
        return
    prefix = "" if sizes is None else manifest.path.rpartition("/")[2] + "/"
    found = store.sizes(manifest.path) if sizes is None else sizes
    if f"{prefix}zarr.json" not in found and not any(prefix + name in found for name, _ in manifest.files()):
        yield DamageError("missing-shard", manifest.path, f"named by {manifest.shard_id}.json, but missing")
        return
    for name, size in manifest.files():
        is_size = found.get(prefix + name)
        where = f"{manifest.path}/{name}"
        if is_size is None:
            yield DamageError("torn-shard", where, "is not there")
        elif is_size != size:
            yield DamageError("torn-shard", where, f"is {is_size} bytes long; {size} were written")
