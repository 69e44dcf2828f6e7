"""The direct reader against zarr-python, and against damage of every byte."""

from __future__ import annotations

import json
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from labelgen.shards.arrayfile import ArrayFile
from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import data_file
from labelgen.shards.schema import ARRAYS, ArraySpec

NAMES = sorted(ARRAYS)


def store(folder: Path, spec: ArraySpec, values: NDArray[np.generic]) -> Path:
    array = zarr.create_array(
        folder / spec.name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=spec.chunk_shape(values.shape),
        shards=spec.shard_shape(values.shape),
        compressors=[ZstdCodec(level=3), Crc32cCodec()] if spec.compressed else [Crc32cCodec()],
        fill_value=spec.fill,
        config={"write_empty_chunks": True},
    )
    array[...] = values
    return folder / data_file(spec.name, values.ndim)


def reader(folder: Path, spec: ArraySpec, shape: tuple[int, ...], size: int) -> ArrayFile:
    metadata = json.loads((folder / spec.name / "zarr.json").read_text())
    file = folder / data_file(spec.name, len(shape))
    opening = partial(os.open, file, os.O_RDONLY)
    return ArrayFile(
        opening,
        spec.name,
        spec=spec,
        metadata=metadata,
        dtype=spec.dtype,
        shape=shape,
        size=size,
    )


def random_values(rng: np.random.Generator, spec: ArraySpec, rows: int, others: int) -> NDArray[np.generic]:
    shape = (rows, *(axis if isinstance(axis, int) else others for axis in spec.axes[1:]))
    return rng.integers(0, 2 if spec.dtype == "bool" else 100, shape).astype(spec.dtype)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    rows=st.integers(0, 40),
    others=st.integers(0, 9),
    chunk=st.integers(1, 17),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_reads_what_zarr_wrote(
    name: str, rows: int, others: int, chunk: int, seed: int, data: st.DataObject
) -> None:
    spec = ARRAYS[name]
    spec = ArraySpec(name, spec.dtype, spec.axes, chunk, "", spec.fill, compressed=spec.compressed)
    values = random_values(np.random.default_rng(seed), spec, rows, others)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = store(folder, spec, values)
        array = reader(folder, spec, values.shape, file.stat().st_size if values.size else 0)
        for _ in range(3):
            begin = data.draw(st.integers(0, rows))
            end = data.draw(st.integers(begin, rows))
            got = array.rows(begin, end)
            assert got.dtype == values.dtype
            assert np.array_equal(got, values[begin:end])
        for begin, end in ((-1, 0), (1, 0), (0, rows + 1)):
            with pytest.raises(DamageError):
                array.rows(begin, end)


@pytest.mark.parametrize("name", ["points/label", "regions/feature"])
def test_no_flipped_bit_and_no_cut_gives_wrong_values(tmp_path: Path, name: str) -> None:
    spec = ARRAYS[name]
    values = random_values(np.random.default_rng(0), spec, 3, 20)
    file = store(tmp_path, spec, values)
    good = file.read_bytes()
    for position in range(len(good)):
        file.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with pytest.raises(DamageError, match=name):
            reader(tmp_path, spec, values.shape, len(good)).rows(0, 3)
    for length in range(len(good)):
        file.write_bytes(good[:length])
        for size in (len(good), length):  # also if the manifest agrees with the cut
            with pytest.raises(DamageError, match=name):
                reader(tmp_path, spec, values.shape, size).rows(0, 3)
    file.unlink()
    with pytest.raises(DamageError, match="cannot be opened"):
        reader(tmp_path, spec, values.shape, len(good))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("zarr_format", 2),
        ("node_type", "group"),
        ("data_type", "uint16"),
        ("shape", [3, 21]),
        ("shape", None),
        ("chunk_grid.name", "rectangular"),
        ("chunk_grid.configuration.chunk_shape", [4, 20]),
        ("chunk_key_encoding.name", "v2"),
        ("codecs", []),
        ("codecs.0.name", "gzip"),
        ("codecs.0.configuration.chunk_shape", [0, 20]),
        ("codecs.0.configuration.chunk_shape", [-1, 20]),
        ("codecs.0.configuration.chunk_shape", [1, 10]),
        ("codecs.0.configuration.chunk_shape", [True, 20]),
        ("codecs.0.configuration.index_location", "start"),
        ("codecs.0.configuration.codecs.1.name", "blosc"),
        ("codecs.0.configuration.codecs.0.configuration", {"endian": "big"}),
        ("codecs.0.configuration.index_codecs.1.name", "none"),
    ],
)
def test_metadata_of_another_kind_is_refused(tmp_path: Path, path: str, value: object) -> None:
    spec = ARRAYS["points/label"]
    values = random_values(np.random.default_rng(0), spec, 3, 20)
    file = store(tmp_path, spec, values)
    metadata = json.loads((tmp_path / spec.name / "zarr.json").read_text())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = metadata
    for part in parents:
        target = target[part]
    target[last] = value
    with pytest.raises(DamageError, match=r"zarr\.json"):
        ArrayFile(
            file,
            spec.name,
            spec=spec,
            metadata=metadata,
            dtype="uint8",
            shape=(3, 20),
            size=file.stat().st_size,
        )
