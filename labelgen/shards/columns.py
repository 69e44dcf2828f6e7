"""Turns frame records into a shard's columns: padding, concatenation, fixed-point pixels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.precision import half_metres
from labelgen.core.records import FrameRecord, PointLabels, Regions
from labelgen.geometry.fractions import MOST_STEPS, inside_steps
from labelgen.shards.schema import ARRAYS, DENSE, ID_BYTES, UV_STEPS

Columns = dict[str, NDArray[Any]]
_LARGEST_UV = 65536


def why_not_storable(record: FrameRecord) -> str | None:
    """What keeps a single record from being stored, or None."""
    identity = record.frame_id
    if not identity or len(identity) > ID_BYTES or not identity.isascii() or "\0" in identity:
        return f"the frame's id must be 1 to {ID_BYTES} ASCII characters"
    views = record.views
    if len(views):
        if int(views.point.min()) < 0:
            return "a view names a point below 0"
        low, high = float(views.uv.min()), float(views.uv.max())
        if not (low >= -0.5 and high + 0.5 < _LARGEST_UV):  # NaN fails too
            return f"a view's pixel is outside of -0.5 to {_LARGEST_UV - 1}.5 ({low} to {high})"
        for name in ("depth", "depth_residual"):
            if not np.isfinite(getattr(views, name)).all():
                return f"a view's {name} is not finite"
    parent = record.regions.parent
    if parent is not None and len(parent) and not -1 <= parent.min() <= parent.max() < len(parent):
        return f"a region's parent is not one of the {len(parent)} regions"
    return None


def uv_steps(records: Sequence[FrameRecord]) -> int:
    """Steps per pixel of a shard's ``views/uv``: the finest power of two that holds its largest pixel."""
    largest = max((float(r.views.uv.max()) for r in records if len(r.views)), default=0.0)
    steps = UV_STEPS
    while (largest + 0.5) * steps >= _LARGEST_UV:
        steps //= 2
    return steps


def encode_uv(uv: NDArray[np.float32], steps: int) -> NDArray[np.uint16]:
    """Pixels to steps counted from the image's top-left corner, which is at (-0.5, -0.5).

    Rounded down, so that ``stored // steps`` is the whole pixel that (u, v) lies in.
    """
    return np.floor((uv.astype(np.float64) + 0.5) * steps).astype(np.uint16)


def decode_uv(stored: NDArray[np.uint16], steps: int) -> NDArray[np.float32]:
    """Undo `encode_uv` to the middle of the step: at most half a step off."""
    return ((stored.astype(np.float64) + 0.5) / steps - 0.5).astype(np.float32)


def pack(records: Sequence[FrameRecord], steps: int, only: Collection[str] = ()) -> Columns:
    """The records' columns, in their order.

    Args:
        records: at least one, each storable.
        steps: per pixel, from `uv_steps`.
        only: groups whose columns are wanted, beside those of ``frame``; all by default.

    Raises:
        ValueError: the records disagree in what they hold (captions, features' width, points).
    """
    counts = [len(record.labels) for record in records]
    columns: Columns = {
        "frame/id": np.array([record.frame_id.encode() for record in records], f"S{ID_BYTES}")
        .view(np.uint8)
        .reshape(len(records), ID_BYTES),
        "frame/timestamp_us": np.array([record.timestamp_us for record in records], np.int64),
        "frame/num_points": np.array(counts, np.int32),
        "frame/status": np.array([int(record.status) for record in records], np.uint8),
        "frame/view_offsets": _offsets(len(record.views) for record in records),
        "frame/region_offsets": _offsets(len(record.regions) for record in records),
    }
    parts: dict[str, Callable[[Sequence[FrameRecord]], Columns]] = {
        "points": _points,
        "views": lambda some: _views(some, steps),
        "hits": _hits,
        "regions": _regions,
    }
    for group, part in parts.items():
        if not only or group in only:
            columns |= part(records)
    return columns


def pack_dense(records: Sequence[FrameRecord]) -> Columns:
    """Columns of the dense features, with those that every group holds; nothing if no record has any.

    Raises:
        ValueError: records with and without, or grids that differ.
    """
    maps = _all_or_none("dense", [record.dense for record in records])
    if maps is None:
        return {}
    kinds = {(dense.values.dtype, dense.values.shape[1:]) for dense in maps}
    if len(kinds) > 1:
        raise ValueError(f"dense features differ between frames of one shard: {sorted(map(str, kinds))}")
    quantised = maps[0].scale is not None
    columns = {
        f"{DENSE}/{'quantised' if quantised else 'feature'}": _stack([dense.values for dense in maps]),
        f"{DENSE}/size": _stack([dense.size for dense in maps]),
    }
    if quantised:
        columns[f"{DENSE}/scale"] = _stack([dense.scale for dense in maps])
    return columns


def _stack(arrays: Sequence[Any]) -> NDArray[Any]:
    """(F, A, ...): frames with fewer cameras have zeros."""
    most = max(len(array) for array in arrays)
    out = np.zeros((len(arrays), most, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out


def _points(records: Sequence[FrameRecord]) -> Columns:
    columns = {
        f"points/{name}": _pad(f"points/{name}", [getattr(record.labels, name) for record in records])
        for name in PointLabels._SPEC
    }
    for name in ("xyz", "intensity"):
        if (arrays := _all_or_none(name, [getattr(record, name) for record in records])) is not None:
            columns[f"points/{name}"] = _pad(f"points/{name}", arrays)
    return columns


def _views(records: Sequence[FrameRecord], steps: int) -> Columns:
    views = [record.views for record in records]
    return {
        "views/point": np.concatenate([v.point for v in views]).astype(np.uint32),
        "views/camera": np.concatenate([v.camera for v in views]),
        "views/uv": encode_uv(np.concatenate([v.uv for v in views]), steps),
        "views/region": np.concatenate([record.view_region for record in records]),
        "views/depth": half_metres(np.concatenate([v.depth for v in views])),
        "views/depth_residual": half_metres(np.concatenate([v.depth_residual for v in views])),
        "views/visible": np.concatenate([v.visible for v in views]),
    }


def hit_reach(records: Sequence[FrameRecord]) -> int:
    """Pixels that the hits of a shard's frames have looked around; 0 if they have not, or none are stored.

    Raises:
        ValueError: frames with different ones.
    """
    reach = {record.hits.reach for record in records if record.hits is not None}
    if len(reach) > 1:
        raise ValueError(f"hits of different reach in one shard: {sorted(reach)}")
    only = reach.pop() if reach else 0
    return only if 3 * only <= MOST_STEPS else 0


def _hits(records: Sequence[FrameRecord]) -> Columns:
    hits: Any = _all_or_none("hits", [record.hits for record in records])
    if hits is None:
        return {}
    columns = {
        "frame/hit_offsets": _offsets(len(one.region) for one in hits),
        "views/hits": np.concatenate([np.diff(one.offsets) for one in hits]).astype(np.uint16),
        "hits/region": np.concatenate([one.region for one in hits]).astype(np.uint16),
    }
    if reach := hit_reach(records):
        columns["hits/inside"] = np.concatenate([inside_steps(one.inside, reach) for one in hits])
    return columns


def _regions(records: Sequence[FrameRecord]) -> Columns:
    # A frame without regions says nothing about widths and captions; it fits to all others.
    telling = [record for record in records if len(record.regions)] or list(records[:1])
    columns: Columns = {}
    for name in Regions._SPEC:
        if (
            arrays := _all_or_none(f"regions.{name}", [getattr(r.regions, name) for r in telling])
        ) is not None:
            columns[f"regions/{name}"] = np.concatenate(arrays)
    for name in ("class_scores", "label", "feature", "caption_feature"):
        arrays = _all_or_none(f"semantics.{name}", [getattr(r.semantics, name) for r in telling])
        if arrays is not None:
            if len({array.shape[1:] for array in arrays}) > 1:
                raise ValueError(f"semantics.{name} differs in width between frames of one shard")
            columns[f"regions/{name}"] = np.concatenate(arrays)
    codes = [code for record in telling for code in record.regions.rle]
    columns["regions/rle_bytes"], columns["regions/rle_offsets"] = _strings(codes)
    captions = _all_or_none("semantics.caption", [record.semantics.caption for record in telling])
    if captions is not None:
        encoded = [caption.encode("utf-8", "replace") for frame in captions for caption in frame]
        columns["regions/caption_bytes"], columns["regions/caption_offsets"] = _strings(encoded)
    return columns


def _pad(name: str, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    spec = ARRAYS[name]
    longest = max(len(array) for array in arrays)
    out = np.full((len(arrays), longest, *arrays[0].shape[1:]), spec.fill, spec.dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out


def _all_or_none(name: str, values: Sequence[Any]) -> Sequence[Any] | None:
    absent = sum(value is None for value in values)
    if absent == len(values):
        return None
    if absent:
        raise ValueError(
            f"{name} is there for {len(values) - absent} frames of a shard and absent for {absent}"
        )
    return values


def _strings(values: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.frombuffer(b"".join(values), np.uint8), _offsets(len(value) for value in values)


def _offsets(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.int64)
