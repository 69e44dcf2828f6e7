"""The direct reader against zarr-python, and against damage of every byte."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.zstd import Zstd, decompress
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from labelgen.shards.arrayfile import ArrayFile, unpacked_size
from labelgen.shards.damage import DamageError
from labelgen.shards.encode import array_metadata
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


def frame_of_zeros(size: int, *, declared: bool) -> bytes:
    """A zstd frame of zeros, ``size`` a multiple of 128 KiB, in 4 bytes for each: blocks of one byte."""
    head = b"\xa0" + size.to_bytes(4, "little") if declared else bytes([0, (17 - 10) << 3])
    blocks = size >> 17
    parts = [
        ((1 << 17) << 3 | 1 << 1 | (n == blocks - 1)).to_bytes(3, "little") + b"\0" for n in range(blocks)
    ]
    return b"\x28\xb5\x2f\xfd" + head + b"".join(parts)


def shard_of(chunks: list[bytes], index: list[int] | None = None) -> bytes:
    """A data file with sound checksums."""
    data, places = b"", []
    for chunk in chunks:
        places += [len(data), len(chunk) + 4]
        data += chunk + google_crc32c.value(chunk).to_bytes(4, "little")
    table = np.array(places if index is None else index, "<u8").tobytes()
    return data + table + google_crc32c.value(table).to_bytes(4, "little")


def test_frames_of_zeros_are_what_they_are_said_to_be() -> None:
    for declared in (True, False):
        frame = frame_of_zeros(1 << 20, declared=declared)
        assert decompress(frame) == bytes(1 << 20)
        assert unpacked_size(frame) == (1 << 20 if declared else None)


@given(st.binary(max_size=300) | st.integers(0, 70_000).map(bytes))
def test_what_a_frame_declares_is_read(content: bytes) -> None:
    assert unpacked_size(Zstd(3).encode(content)) == len(content)


@given(st.binary(max_size=30))
def test_what_is_no_frame_declares_nothing_that_matters(head: bytes) -> None:
    assert unpacked_size(head) is None
    unpacked_size(b"\x28\xb5\x2f\xfd" + head)


GIB = 1 << 30
#: Chunks of an array of 2 x 131072 bytes.
BOMBS = {
    "declares more": [frame_of_zeros(GIB, declared=True)] * 2,
    "declares nothing": [frame_of_zeros(GIB, declared=False)] * 2,
    "a second frame": [frame_of_zeros(1 << 17, declared=True) + frame_of_zeros(GIB, declared=False)] * 2,
    "declares less": [frame_of_zeros(1 << 17, declared=True).replace(b"\x00\x00\x02", b"\x00\x00\x01", 1)]
    * 2,
    "stored in too many bytes": [bytes(1 << 20)] * 2,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_chunk_unpacks_to_what_is_expected_or_not_at_all(tmp_path: Path, kind: str) -> None:
    spec = ARRAYS["points/label"]
    values = np.zeros((2, 1 << 17), np.uint8)
    file = store(tmp_path, spec, values)
    file.write_bytes(shard_of([frame_of_zeros(1 << 17, declared=True)] * 2))
    assert np.array_equal(reader(tmp_path, spec, values.shape, file.stat().st_size).rows(0, 2), values)
    file.write_bytes(shard_of(BOMBS[kind]))
    tracemalloc.start()
    with pytest.raises(DamageError, match="points/label: chunk 0"):
        reader(tmp_path, spec, values.shape, file.stat().st_size).rows(0, 2)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_small_file_that_is_declared_large_is_refused(tmp_path: Path) -> None:
    """Manifest, metadata and frame agree with one another."""
    spec = ARRAYS["points/label"]
    rows, columns = 3, 1 << 27
    file = store(tmp_path, spec, np.zeros((1, 1), np.uint8))
    metadata = array_metadata(spec, (rows, columns))
    content = shard_of([frame_of_zeros(columns, declared=True)] * rows)
    file.write_bytes(content)
    opening = partial(os.open, file, os.O_RDONLY)
    agreed: dict[str, Any] = {"spec": spec, "dtype": "uint8", "size": len(content)}
    with pytest.raises(DamageError, match="points/label: chunks unpack to 134217728 bytes"):
        ArrayFile(opening, spec.name, metadata=metadata, shape=(rows, columns), **agreed)
    spec = ARRAYS["views/camera"]
    metadata = array_metadata(spec, (columns,))
    content = shard_of([b"x"] * (columns // spec.chunk))
    file.write_bytes(content)
    agreed |= {"spec": spec, "size": len(content)}
    array = ArrayFile(opening, spec.name, metadata=metadata, shape=(columns,), **agreed)
    with pytest.raises(DamageError, match="rows 0 to 134217728 unpack"):
        array.rows(0, columns)


def test_bytes_that_stand_for_several_chunks_are_refused(tmp_path: Path) -> None:
    spec = ARRAYS["points/label"]
    values = np.zeros((4, 1 << 17), np.uint8)
    file = store(tmp_path, spec, values)
    chunk = frame_of_zeros(1 << 17, declared=True)
    file.write_bytes(shard_of([chunk], [0, len(chunk) + 4] * 4))
    with pytest.raises(DamageError, match="the same bytes for several chunks"):
        reader(tmp_path, spec, values.shape, file.stat().st_size)


def test_a_disk_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ARRAYS["points/label"]
    values = random_values(np.random.default_rng(0), spec, 3, 20)
    file = store(tmp_path, spec, values)
    array = reader(tmp_path, spec, values.shape, file.stat().st_size)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DamageError, match="points/label: cannot be read: Input/output error"):
        array.rows(0, 3)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(DamageError, match="points/label: cannot be read: Input/output error"):
        reader(tmp_path, spec, values.shape, file.stat().st_size)
