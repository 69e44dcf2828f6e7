"""Arrays and tables that are unpacked only as far as they declare, and only if that is a plausible size.

A file of a few kilobytes can unpack to more than a machine holds. Both formats say beforehand what is in
them: an ``.npz`` in its directory and in the array's header, a Parquet file in its footer.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelgen.io.seal import parquet_is_sealed

#: Most rows of a table: about four times the frames of the largest data sets.
MOST_ROWS = 1 << 22
#: Most bytes of a table in memory.
MOST_TABLE = 1 << 33
#: A table may take this much memory in any case, and beyond so many times the bytes of its file: repeated
#: calibrations compress to next to nothing, the names of a hundred thousand images do not.
FREE_TABLE = 1 << 26
MOST_RATIO = 500
#: Members of an ``.npz``, and chunks of columns in a Parquet file, that are looked at.
MOST_MEMBERS = 1000
MOST_CHUNKS = 1_000_000

_MEMBER = b"PK\x01\x02"  # begins each entry of a zip's directory
_WIDTH = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}


class OversizedError(ValueError):
    """What was declared is more than may be unpacked; the message says both."""


def read_npz(data: bytes, name: str, most: int) -> NDArray[Any]:
    """One array of an ``.npz``, read-only.

    Args:
        data: content of the file.
        name: of the array.
        most: bytes that the array may have.

    Raises:
        OversizedError: the directory or the header declares more; nothing has been unpacked.
        ValueError: no ``.npz`` with plain numbers or bytes under that name, or a damaged one.
    """
    # zipfile makes an object of every entry of the directory.
    if data.count(_MEMBER) > MOST_MEMBERS:
        raise OversizedError(f"more than {MOST_MEMBERS} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name} is compressed in a way that numpy does not use")
            if member.file_size > most + 4096:  # the header
                raise OversizedError(f"{name} unpacks to {member.file_size} bytes; the maximum is {most}")
            with archive.open(member) as file:
                return _read_npy(file, name, most)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise ValueError(f"not an .npz with {name!r} ({' '.join(str(error).split())[:200]})") from None


def read_npy(data: bytes, name: str, most: int) -> NDArray[Any]:
    """The array of an ``.npy``, read-only.

    Args:
        data: content of the file.
        name: of the array, for messages.
        most: bytes that it may have.

    Raises:
        OversizedError: the header declares more; nothing has been unpacked.
        ValueError: no ``.npy`` with plain numbers, or a damaged one.
    """
    return _read_npy(io.BytesIO(data), name, most)


def _read_npy(file: Any, name: str, most: int) -> NDArray[Any]:
    version: Any = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    readers: dict[Any, Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{name} has a header of version {version}")
    shape, by_column, dtype = readers[version](file)
    if dtype.hasobject or dtype.names is not None or not dtype.itemsize:
        raise ValueError(f"{name} holds {dtype}; numbers are expected")
    if (size := math.prod(shape) * dtype.itemsize) > most:
        raise OversizedError(f"{name} is declared as {dtype} {shape}, {size} bytes; the maximum is {most}")
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{name} ends after {len(content)} of {size} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


def read_parquet(content: bytes, columns: Sequence[str] | None = None, rows: int = MOST_ROWS) -> pa.Table:
    """A Parquet file as a table, decoded by this thread alone.

    Arrow's threads let go of the file's bytes after the answer is there. Where that is when the interpreter
    ends, such a thread cannot have its lock any more, and the process dies by SIGABRT. No other place reads
    Parquet (`tests/unit/test_house.py`).

    Args:
        content: of the file.
        columns: to be read; None for all.
        rows: most that the file may have.

    Raises:
        OversizedError: it declares more rows, or unpacks to far more than its size lets expect.
        pa.ArrowException, OSError, ValueError: no Parquet file, or a damaged one, by its own checksum, too.
    """
    if parquet_is_sealed(content) is False:
        raise ValueError("it has changed since it was written: its checksum differs")
    file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
    metadata = file.metadata
    if metadata.num_rows > rows:
        raise OversizedError(f"it declares {metadata.num_rows} rows; the maximum is {rows}")
    if metadata.num_row_groups * metadata.num_columns > MOST_CHUNKS:
        raise OversizedError(
            f"it declares {metadata.num_row_groups} row groups of {metadata.num_columns} columns"
        )
    most = min(MOST_TABLE, max(FREE_TABLE, MOST_RATIO * len(content)))
    size = 0
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            width = _WIDTH.get(chunk.physical_type) or metadata.schema.column(number).length
            size += max(chunk.num_values * width, chunk.total_uncompressed_size)
    if size > most:
        raise OversizedError(f"its {len(content)} bytes unpack to {size}; the maximum is {most}")
    _check_texts(file, most)
    return file.read(columns, use_threads=False)


def _check_texts(file: pq.ParquetFile, most: int) -> None:
    """Refuse texts that are stored once and repeated until they take more than ``most`` bytes."""
    metadata = file.metadata
    size = 0
    for number in range(metadata.num_columns):
        chunks = [metadata.row_group(group).column(number) for group in range(metadata.num_row_groups)]
        longest = max((chunk.total_uncompressed_size for chunk in chunks), default=1)
        path = metadata.schema.column(number).path
        if metadata.schema.column(number).physical_type != "BYTE_ARRAY":
            continue
        rows = min(max(FREE_TABLE // (longest + 1), 64), 65536)
        for batch in file.iter_batches(rows, columns=[path], use_threads=False):
            size += sum(_size(column) for column in batch.columns)
            if size > most:
                raise OversizedError(f"the strings of {path} unpack to more than {most} bytes")


def _size(array: pa.Array) -> int:
    """Bytes of an array of any nesting, a dictionary's entries counted as often as they are named."""
    kind = array.type
    if pa.types.is_nested(kind):
        return sum(map(_size, array.flatten() if pa.types.is_struct(kind) else [array.flatten()]))
    if pa.types.is_dictionary(kind) and len(array.dictionary):
        lengths = pc.fill_null(pc.binary_length(array.dictionary), 0)
        return pc.sum(lengths.take(array.indices.drop_null())).as_py() or 0
    return int(array.nbytes)
