"""Reads one array of a shard straight from its file: shard index, crc32c, zstd.

The general Zarr readers spend their time per chunk request, not per byte, and take a missing file for
fill values. An array of a shard is one immutable file, so a few positioned reads do, no handle stays
open (safe under fork, spawn and threads), and whatever is not as it was written is an error.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import decompress
from numpy.typing import NDArray

from labelgen.io.store import StoreError
from labelgen.shards.damage import DamageError
from labelgen.shards.schema import ArraySpec

_MISSING = 2**64 - 1
_LARGEST_CHUNK = 2**30
#: What is asked for at once may unpack to this many bytes, and beyond to so many times those of its file:
#: a frame without labels compresses to next to nothing, but a large frame is never as empty as that.
_FREE, _RATIO = 1 << 26, 64
#: Bytes of the blocks in which a whole array is gone through.
_BLOCK = 1 << 24
_CRC = struct.Struct("<I")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class ArrayFile:
    """One array: knows where its chunks are and reads rows of it.

    Args:
        open_file: gives a descriptor of the array's only data file; not called for an array without elements.
        where: how messages name the array.
        spec: the table's row for it.
        metadata: content of its ``zarr.json``.
        dtype, shape, size: type, shape and size of the file in bytes, as the manifest gives them.

    Raises:
        DamageError: metadata or file are not those of this array.
    """

    def __init__(
        self,
        open_file: Callable[[], int],
        where: str,
        *,
        spec: ArraySpec,
        metadata: Mapping[str, Any],
        dtype: str,
        shape: Sequence[int],
        size: int,
    ) -> None:
        self.shape = tuple(shape)
        self._open_file, self._where, self._size = open_file, where, size
        self._dtype = np.dtype(spec.dtype).newbyteorder("<")
        if dtype != spec.dtype:
            raise self._damage(f"dtype {dtype}; {spec.dtype} is expected")
        try:
            self._chunk, self._zstd, self._checked = _layout(metadata, spec.dtype, self.shape)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._damage(f"zarr.json: {type(error).__name__}: {error}") from error
        self._row_bytes = math.prod(self.shape[1:]) * self._dtype.itemsize
        if self._chunk * self._row_bytes > _LARGEST_CHUNK:
            raise self._damage(
                f"chunks of {self._chunk * self._row_bytes} bytes; the maximum is {_LARGEST_CHUNK}"
            )
        self._check_size("chunks", self._chunk)
        self._kept: tuple[int, NDArray[Any]] | None = None
        self._index = self._read_index() if math.prod(self.shape) else np.zeros((0, 2), np.uint64)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows that together are the whole array, each of whole chunks and some 16 MB."""
        step = max(1, _BLOCK // max(1, self._chunk * self._row_bytes)) * self._chunk
        for begin in range(0, self.shape[0], step):
            yield begin, min(begin + step, self.shape[0])

    def rows(self, begin: int, end: int) -> NDArray[Any]:
        """Rows ``begin`` to ``end`` of the first axis, as a new array in native byte order."""
        if not 0 <= begin <= end <= self.shape[0]:
            raise self._damage(f"rows {begin} to {end} of {self.shape[0]}")
        self._check_size(f"rows {begin} to {end}", end - begin)
        out = np.empty((end - begin, *self.shape[1:]), self._dtype)
        if out.size:
            first, last = begin // self._chunk, -(-end // self._chunk)
            descriptor = self._open()
            try:
                for number in range(first, last):
                    start = number * self._chunk
                    low, high = max(begin, start), min(end, start + self._chunk)
                    part = out[low - begin : high - begin]
                    if high - low == self._chunk:
                        self._read_into(descriptor, number, part)
                    else:
                        part[...] = self._chunk_values(descriptor, number)[low - start : high - start]
            except OSError as error:
                raise self._damage(f"cannot be read: {error.strerror}") from error
            finally:
                os.close(descriptor)
        return out.astype(self._dtype.newbyteorder("="), copy=False)

    def _check_size(self, what: str, rows: int) -> None:
        size = rows * self._row_bytes
        if size > max(_FREE, _RATIO * self._size):
            raise self._damage(f"{what} unpack to {size} bytes, from a file of {self._size}")

    def _chunk_values(self, descriptor: int, number: int) -> NDArray[Any]:
        """A chunk of which a part is wanted; the next frame begins in the chunk that this one ends in."""
        if self._kept is None or self._kept[0] != number:
            values = np.empty((self._chunk, *self.shape[1:]), self._dtype)
            self._read_into(descriptor, number, values)
            self._kept = (number, values)
        return self._kept[1]

    def _read_into(self, descriptor: int, number: int, out: NDArray[Any]) -> None:
        """A whole chunk; one that is not compressed without a copy on the way."""
        offset, size = (int(value) for value in self._index[number])
        content = out.reshape(-1).view(np.uint8)
        crc = bytearray(_CRC.size if self._checked else 0)
        packed: NDArray[np.uint8] = content
        if self._zstd:
            # What cannot be compressed grows by 1/256.
            length = min(size - len(crc), content.nbytes + content.nbytes // 128 + 1024)
            packed = np.empty(max(0, length), np.uint8)
        if size != packed.nbytes + len(crc):
            raise self._damage(f"chunk {number} holds {size} bytes; {content.nbytes} are expected")
        if os.preadv(descriptor, [packed.data, crc], offset) != size:
            raise self._damage(f"chunk {number} is cut off")
        if self._checked and google_crc32c.value(packed) != _CRC.unpack(crc)[0]:
            raise self._damage(f"chunk {number} fails its checksum")
        if self._zstd:
            self._unpack(number, packed, content)

    def _unpack(self, number: int, packed: NDArray[np.uint8], content: NDArray[np.uint8]) -> None:
        """Never more than is expected, whatever the frame holds."""
        declared = unpacked_size(packed[:18].tobytes())
        if declared not in (None, content.nbytes):
            raise self._damage(f"chunk {number} unpacks to {declared} bytes; {content.nbytes} are expected")
        try:
            decompress(packed, content)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise self._damage(f"chunk {number}: {error}") from error

    def _read_index(self) -> NDArray[np.uint64]:
        count = -(-self.shape[0] // self._chunk)
        length = 16 * count + _CRC.size
        if length > self._size:
            raise self._damage(f"file of {self._size} bytes cannot hold an index of {count} chunks")
        descriptor = self._open()
        try:
            raw = os.pread(descriptor, length, self._size - length)
        except OSError as error:
            raise self._damage(f"cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)
        if len(raw) != length:
            raise self._damage("the index is cut off")
        index = np.frombuffer(self._strip_crc(raw, "the index"), "<u8").reshape(count, 2).astype(np.uint64)
        limit = self._size - length
        # Compared in this order so that no sum overflows.
        if (index == _MISSING).any() or (index > limit).any() or (index.sum(axis=1) > limit).any():
            raise self._damage("the index names chunks that are not in the file")
        if index[:, 1].sum(dtype=np.float64) > limit:
            raise self._damage("the index names the same bytes for several chunks")
        return index

    def _open(self) -> int:
        try:
            descriptor = self._open_file()
        except StoreError:
            raise  # that says nothing of the file
        except OSError as error:
            raise self._damage(f"cannot be opened: {error.strerror}") from error
        if (size := os.fstat(descriptor).st_size) != self._size:
            os.close(descriptor)
            raise self._damage(f"is {size} bytes long; {self._size} were written")
        return descriptor

    def _strip_crc(self, raw: bytes, what: str) -> NDArray[np.uint8]:
        content = np.frombuffer(raw, np.uint8)[: -_CRC.size]
        if len(raw) < _CRC.size:
            raise self._damage(f"{what} is cut off")
        if google_crc32c.value(content) != _CRC.unpack(raw[-_CRC.size :])[0]:
            raise self._damage(f"{what} fails its checksum")
        return content

    def _damage(self, detail: str) -> DamageError:
        return DamageError("torn-shard", self._where, detail)


def unpacked_size(frame: bytes) -> int | None:
    """Bytes that a zstd frame unpacks to, as its head declares; None if it does not, or is no such frame.

    Args:
        frame: the first 18 bytes, or more.
    """
    if frame[:4] != _ZSTD_MAGIC or len(frame) < 5:
        return None
    head = frame[4]
    alone = bool(head & 0x20)
    begin = 5 + (not alone) + (0, 1, 2, 4)[head & 3]
    width = (1 if alone else 0, 2, 4, 8)[head >> 6]
    if not width:
        return None
    return int.from_bytes(frame[begin : begin + width], "little") + (256 if width == 2 else 0)


def _layout(metadata: Mapping[str, Any], dtype: str, shape: tuple[int, ...]) -> tuple[int, bool, bool]:
    """Rows per inner chunk, and whether chunks are compressed and checksummed; ValueError if not ours."""
    if metadata["zarr_format"] != 3 or metadata["node_type"] != "array":
        raise ValueError("not a Zarr v3 array")
    if metadata["data_type"] != dtype or tuple(metadata["shape"]) != shape:
        raise ValueError(f"{metadata['data_type']} {metadata['shape']}; {dtype} {list(shape)} is expected")
    if metadata["chunk_key_encoding"]["name"] != "default" or metadata["chunk_grid"]["name"] != "regular":
        raise ValueError("chunk grid or key encoding unknown")
    (sharding,) = metadata["codecs"]
    settings = sharding["configuration"]
    index_codecs = [codec["name"] for codec in settings["index_codecs"]]
    if sharding["name"] != "sharding_indexed" or index_codecs != ["bytes", "crc32c"]:
        raise ValueError("not one sharding_indexed codec with a bytes, crc32c index")
    if settings.get("index_location", "end") != "end":
        raise ValueError("the index is not at the end")
    codecs = settings["codecs"]
    names = [codec["name"] for codec in codecs]
    if names not in (["bytes"], ["bytes", "zstd"], ["bytes", "crc32c"], ["bytes", "zstd", "crc32c"]):
        raise ValueError(f"codecs {names} are not bytes, zstd, crc32c")
    for codec in (codecs[0], settings["index_codecs"][0]):
        if codec.get("configuration", {}).get("endian", "little") != "little":
            raise ValueError("not little-endian")
    rows, *others = settings["chunk_shape"]
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    if type(rows) is not int or rows < 1 or others != [max(1, size) for size in shape[1:]]:
        raise ValueError(f"inner chunks {settings['chunk_shape']} do not span all axes but the first")
    # Exactly the chunks that the array needs, so that the index has one entry for each.
    if outer != [max(1, -(-shape[0] // rows)) * rows, *others]:
        raise ValueError(f"a shard of {outer} is not the whole array")
    return rows, "zstd" in names, "crc32c" in names
