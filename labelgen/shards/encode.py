"""Writes a shard's arrays as Zarr v3: one file and one ``zarr.json`` for each, consolidated in the root.

A general writer hands each of some thirty small arrays to an event loop in another thread, which on a busy
machine takes longer than all the rest, and must not be forked. The few things that the format uses of Zarr
are written here; the tests read them with zarr-python, zarrs and TensorStore.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from labelgen.shards.manifest import data_file
from labelgen.shards.schema import ARRAYS, ZSTD_LEVEL, ArraySpec

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC = {"name": "crc32c"}
_ZSTD = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}


def write_group(folder: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    """Write a new Zarr v3 group with subgroups and arrays.

    Args:
        folder: must not exist.
        arrays: {name in the table: values}.
        attributes: of the root group, JSON-like.
    """
    nodes: dict[str, dict[str, Any]] = {}
    folder.mkdir()
    # In the table's order: zarr-python loses nodes of a group that do not follow one another.
    for name in sorted(arrays, key=list(ARRAYS).index):
        spec, values = ARRAYS[name], arrays[name]
        nodes.setdefault(spec.group, _group({}))
        spec = replace(spec, compressed=worth_compressing(spec, values))
        nodes[name] = array_metadata(spec, values.shape)
        file = folder / data_file(name, values.ndim)
        if values.size:
            file.parent.mkdir(parents=True)
            with file.open("xb") as out:
                out.writelines(_encode(spec, values))
        else:
            (folder / name).mkdir(parents=True)
    for name, node in nodes.items():
        _write_json(folder / name, node)
    consolidated = {"kind": "inline", "must_understand": False, "metadata": nodes}
    _write_json(folder, _group(attributes) | {"consolidated_metadata": consolidated})


def worth_compressing(spec: ArraySpec, values: NDArray[Any]) -> bool:
    """As the schema says; and vectors cut short by `labelgen.core.precision.stored_feature`, too."""
    if spec.compressed or spec.dtype != "float16":
        return spec.compressed
    return not (values.view(np.uint16) & np.uint16(7)).any()


def array_metadata(spec: ArraySpec, shape: tuple[int, ...]) -> dict[str, Any]:
    """Content of an array's ``zarr.json``."""
    codecs = [_LITTLE, _ZSTD, _CRC] if spec.compressed else [_LITTLE, _CRC]
    sharding = {
        "chunk_shape": list(spec.chunk_shape(shape)),
        "codecs": codecs,
        "index_codecs": [_LITTLE, _CRC],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": spec.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.shard_shape(shape))}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill_value(spec),
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
    }


def _encode(spec: ArraySpec, values: NDArray[Any]) -> Iterator[bytes]:
    """The data file, piece by piece: chunks, index, checksum of the index."""
    rows = spec.chunk_shape(values.shape)[0]
    index: list[int] = []
    offset = 0
    for begin in range(0, len(values), rows):
        part = values[begin : begin + rows]
        if len(part) < rows:
            padding = np.full((rows - len(part), *values.shape[1:]), spec.fill, values.dtype)
            part = np.concatenate([part, padding])
        data = np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes()
        chunk = _with_crc(Zstd(ZSTD_LEVEL).encode(data) if spec.compressed else data)
        index += [offset, len(chunk)]
        offset += len(chunk)
        yield chunk
    yield _with_crc(struct.pack(f"<{len(index)}Q", *index))


def _with_crc(data: bytes) -> bytes:
    return data + struct.pack("<I", google_crc32c.value(data))


def _fill_value(spec: ArraySpec) -> Any:
    if spec.dtype == "bool":
        return bool(spec.fill)
    if spec.dtype.startswith("float"):
        return "NaN" if np.isnan(spec.fill) else float(spec.fill)
    return int(spec.fill)


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def _write_json(folder: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    (folder / "zarr.json").write_text(text, encoding="utf-8")
