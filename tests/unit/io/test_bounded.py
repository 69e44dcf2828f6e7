"""What declares more than it may is refused before it is unpacked."""

import io
import subprocess
import sys
import threading
import weakref
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelgen.io.bounded import OversizedError, read_npz, read_parquet


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def parquet(table, **how):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **how)
    return sink.getvalue().to_pybytes()


def repeated(text, count):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [text])


class TestNpz:
    @pytest.mark.parametrize(
        "array",
        [np.arange(7), np.zeros((2, 3), order="F"), np.array([b"ab", b"c"]), np.float32(4), np.zeros(0)],
    )
    def test_as_numpy_reads_it(self, array):
        found = read_npz(npz(a=np.zeros(3), b=array), "b", 1000)
        assert found.dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found, array)

    def test_declared_size(self):
        data = npz(a=np.zeros(1000))
        assert len(read_npz(data, "a", 8000)) == 1000
        with pytest.raises(OversizedError, match="8000 bytes; the maximum is 7999"):
            read_npz(data, "a", 7999)

    def test_a_header_that_says_more_than_the_directory(self):
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
        )
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.npy", file.getvalue() + bytes(80))
        with pytest.raises(OversizedError, match="8796093022208 bytes"):
            read_npz(out.getvalue(), "a", 1000)
        with pytest.raises(ValueError, match="ends after 80 of"):
            read_npz(out.getvalue(), "a", 2**50)

    def test_a_directory_that_says_less_than_there_is(self):
        """What is beyond the declared size is never unpacked, whatever is stored."""
        data = bytearray(npz(a=np.zeros(100_000)))
        at = data.rindex(b"PK\x01\x02")
        data[at + 24 : at + 28] = (200).to_bytes(4, "little")
        with pytest.raises(ValueError, match=r"ends after|not an \.npz"):
            read_npz(bytes(data), "a", 1_000_000)

    def test_more_members_than_anybody_stores(self):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for number in range(1001):
                archive.writestr(f"{number}.npy", b"")
        with pytest.raises(OversizedError, match="more than 1000 arrays"):
            read_npz(out.getvalue(), "a", 1000)

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_compression_without_a_bound(self, method):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a.npy", b"x")
        with pytest.raises(ValueError, match="compressed in a way"):
            read_npz(out.getvalue(), "a", 1000)

    @pytest.mark.parametrize("data", [b"", b"PK", b"x" * 100, npz(b=np.zeros(2)), npz(a=np.zeros(9))[:-30]])
    def test_no_such_file(self, data):
        with pytest.raises(ValueError, match=r"not an \.npz with 'a'"):
            read_npz(data, "a", 1000)

    def test_objects(self):
        with pytest.raises(ValueError, match="numbers are expected"):
            read_npz(npz(a=np.array([None])), "a", 1000)

    def test_damaged(self):
        data = bytearray(npz(a=np.arange(1000)))
        data[100:140] = bytes(40)
        with pytest.raises(ValueError, match=r"not an \.npz"):
            read_npz(bytes(data), "a", 10_000)


class TestParquet:
    def test_as_arrow_reads_it(self):
        table = pa.table(
            {
                "text": ["a", None, "ccc"],
                "repeated": repeated("r", 3),
                "nested": [[{"name": "x", "values": [1.0, 2.0]}], [], None],
                "nothing": pa.nulls(3),
            }
        )
        assert read_parquet(parquet(table)).equals(table)
        assert read_parquet(parquet(table), ["text"]).equals(table.select(["text"]))

    def test_no_other_thread_lets_go_of_the_content(self):
        """As Arrow's own do, now and then: a process that ends meanwhile dies by SIGABRT."""
        table = pa.table({name: repeated(name, 1000) for name in "abcdef"})

        class Content(np.ndarray):
            pass

        threads = set()
        for _ in range(100):
            content = np.frombuffer(parquet(table), np.uint8).copy().view(Content)
            weakref.finalize(content, lambda: threads.add(threading.get_native_id()))
            read_parquet(content)
            del content
        assert threads == {threading.get_native_id()}

    def test_row_count(self):
        content = parquet(pa.table({"a": np.zeros(11)}))
        assert read_parquet(content, rows=11).num_rows == 11
        with pytest.raises(OversizedError, match="11 rows; the maximum is 10"):
            read_parquet(content, rows=10)

    @pytest.mark.parametrize(
        "column",
        [
            pa.array(np.zeros(10_000_000)),
            pa.ListArray.from_arrays([0, 10_000_000], pa.array(np.zeros(10_000_000))),
            pa.array(["z" * 1_000_000] * 100),
            repeated("z" * 100_000, 100_000),
            pa.ListArray.from_arrays([0, 100_000], repeated("z" * 100_000, 100_000)),
        ],
        ids=["rows", "list", "text", "dictionary", "dictionary in a list"],
    )
    def test_bombs(self, column):
        content = parquet(pa.table({"a": column}))
        assert len(content) < 200_000
        with pytest.raises(OversizedError):
            read_parquet(content, rows=10**9)


BOMBS = """
import resource, sys
from pathlib import Path
from labelgen.io.bounded import OversizedError, read_npz, read_parquet

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

before = peak()
for path in map(Path, sys.argv[1:]):
    try:
        if path.suffix == ".npz":
            read_npz(path.read_bytes(), "data", 44_000)
        else:
            read_parquet(path.read_bytes())
    except OversizedError:
        print(path.name)
print(peak() - before)
"""


def test_bombs_cost_no_memory(tmp_path):
    """What unpacks to 100 MB to 80 GB, in a process of its own."""
    bombs = {
        "a.npz": npz(data=np.zeros(15_000_000)),
        "b.parquet": parquet(pa.table({"a": repeated("z" * 1_000_000, 80_000)})),
        "c.parquet": parquet(pa.table({"a": np.zeros(15_000_000)})),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in bombs]
    done = subprocess.run([sys.executable, "-c", BOMBS, *paths], capture_output=True, text=True, check=True)
    *refused, cost = done.stdout.split()
    assert refused == list(bombs)
    assert float(cost) < 100  # megabytes
