"""Files that are called what they are, and packed points that are never taken for another kind."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import feather

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame
from labelgen.datasets import load_cloud
from labelgen.io.magic import cloud_kind

POINTS = np.random.default_rng(0).uniform(-20, 20, (400, 4)).astype("<f4")
PCD = "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 400\nHEIGHT 1\n"


def written(write, *given, **more):
    file = io.BytesIO()
    write(file, *given, **more)
    return file.getvalue()


def zipped(file):
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("a.bin", POINTS.tobytes())


def tarred(file):
    with tarfile.open(fileobj=file, mode="w") as out:
        out.addfile(tarfile.TarInfo("a.bin"), io.BytesIO())


def database(tmp_path):
    with sqlite3.connect(tmp_path / "a.db3") as base:
        base.execute("create table topics (id integer)")
    return (tmp_path / "a.db3").read_bytes()


KINDS = {
    ".npy": lambda _: written(np.save, POINTS),
    ".npz": lambda _: written(np.savez, points=POINTS),
    "numpy": lambda _: written(np.save, np.asfortranarray(POINTS.astype(np.float64))),
    "PCD": lambda _: f"# .PCD v0.7\n{PCD}DATA binary\n".encode() + POINTS.tobytes(),
    "a PCD": lambda _: f"#{' ' * 20}\n{PCD}POINTS 400\nDATA binary_compressed\n".encode() + POINTS.tobytes(),
    "PCD point": lambda _: f"{PCD}DATA ascii\n1 2 3 4\n".encode(),
    "PLY": lambda _: b"ply\nformat binary_little_endian 1.0\nelement vertex 400\n" + POINTS.tobytes(),
    "LAS": lambda _: b"LASF" + bytes(371) + POINTS.tobytes(),
    "MCAP": lambda _: b"\x89MCAP0\r\n\x01" + POINTS.tobytes(),
    "ROS bag": lambda _: b"#ROSBAG V2.0\n" + POINTS.tobytes(),
    "SQLite": database,
    "gzip": lambda _: gzip.compress(POINTS.tobytes()),
    "bzip2": lambda _: bz2.compress(POINTS.tobytes()),
    "xz": lambda _: lzma.compress(POINTS.tobytes()),
    "zstd": lambda _: pa.compress(POINTS.tobytes(), "zstd", asbytes=True),
    "ZIP": lambda _: written(zipped),
    "tar": lambda _: written(tarred),
    "git lfs pull": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6400\n",
    "web page": lambda _: b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>",
    "XML": lambda _: b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    "JSON": lambda _: json.dumps({"message": "Not Found"}).encode(),
    "HDF5": lambda _: b"\x89HDF\r\n\x1a\n" + bytes(400),
    "Parquet": lambda _: written(lambda file: pq.write_table(pa.table({"x": POINTS[:, 0]}), file)),
    "Arrow": lambda _: written(lambda file: feather.write_feather(pa.table({"x": POINTS[:, 0]}), file)),
    "pickle": lambda _: pickle.dumps(POINTS, protocol=4),
    "Draco": lambda _: b"DRACO\x02\x02" + POINTS.tobytes(),
    "PNG": lambda _: written(Image.new("RGB", (40, 40)).save, "png"),
    "JPEG": lambda _: written(Image.new("RGB", (40, 40)).save, "jpeg"),
    "text": lambda _: written(np.savetxt, POINTS, "%.3f"),
    "a text": lambda _: b"\xef\xbb\xbfx,y,z,intensity\n" + written(np.savetxt, POINTS, "%.3f", delimiter=","),
    "zero bytes": lambda _: bytes(6400),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_cloud_of_another_kind_is_called_what_it_is(name, tmp_path):
    data = KINDS[name](tmp_path)
    data += bytes(-len(data) % 16)  # so that it would pass for records
    (tmp_path / "a.bin").write_bytes(data)
    frame = Frame("f", "s", 0, 0, "a.bin", "kitti", np.eye(4), ())
    with pytest.raises(FrameError, match=rf"frame f: a\.bin: it is .*{name}"):
        load_cloud(tmp_path, frame)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(-300, 300, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3), min_size=8))
def test_no_packed_points_are_taken_for_another_kind(values):
    assert cloud_kind(np.float32([*values, *POINTS.ravel()]).tobytes()) == ""


@pytest.mark.parametrize("head", [b"\xff\xd8\xff\xc0", b"\xff\xd8\xff\xc2", b"BM\x00\x41"])
def test_coordinates_that_look_like_the_beginning_of_an_image_are_coordinates(head):
    data = head + POINTS.tobytes()[4:]
    assert abs(np.frombuffer(data, "<f4")[0]) < 200
    assert cloud_kind(data) == ""


def test_points_at_the_origin_first_are_no_file_of_zeros():
    data = bytes(1600) + POINTS.tobytes()
    assert cloud_kind(data) == ""
    assert "zero bytes" in cloud_kind(bytes(1600))
