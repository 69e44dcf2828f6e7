"""frames.parquet: what goes in comes out, by whatever tool it was written; what is wrong is refused."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.errors import UserError
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import SCHEMA, read_frames, write_frames

from .frames import assert_equal_frames, make_camera, make_frame

INFO = DatasetInfo("nuscenes", "v1.0-mini", "mini_val", "/data/nuscenes", {"flat.sidewalk": 26}, 3)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Three frames as a user without our code would write them: plain lists of numbers."""
    rng = np.random.default_rng(1)
    out = []
    for number in range(3):
        frame = make_frame(rng, number)
        row = {name: getattr(frame, name) for name in SCHEMA.names if name != "source_id"}
        row["global_from_lidar"] = frame.global_from_lidar.ravel().tolist()
        row["cameras"] = [
            {
                "name": camera.name,
                "image_path": camera.image_path,
                "width": camera.width,
                "height": camera.height,
                "intrinsics": camera.intrinsics.ravel().tolist(),
                "camera_from_lidar": camera.camera_from_lidar.ravel().tolist(),
                "timestamp_us": camera.timestamp_us,
                "distortion": None if camera.distortion is None else camera.distortion.tolist(),
            }
            for camera in frame.cameras
        ]
        out.append(row)
    return out


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), counts=st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_round_trip(tmp_path_factory, seed, counts):
    rng = np.random.default_rng(seed)
    lengths = [None, 4, 5, 8, 12, 14]
    frames = [
        make_frame(
            rng, k, tuple(make_camera(rng, f"CAM_{c}", lengths[rng.integers(6)]) for c in range(count))
        )
        for k, count in enumerate(counts)
    ]
    path = tmp_path_factory.mktemp("trip") / "frames.parquet"
    write_frames(path, frames, INFO)
    found, info = read_frames(path)
    assert info == INFO
    assert len(found) == len(frames)
    for one, other in zip(found, frames, strict=True):
        assert_equal_frames(one, other)
    first = path.read_bytes()
    write_frames(path, found, info)
    assert path.read_bytes() == first
    assert pq.read_schema(path).equals(SCHEMA)


def test_a_file_written_by_hand_is_read(tmp_path, rows):
    frames, info = read_frames(write_rows(tmp_path / "frames.parquet", rows))
    assert info == DatasetInfo(dataroot=str(tmp_path))
    assert [frame.frame_id for frame in frames] == [row["frame_id"] for row in rows]
    assert frames[1].cameras[1].distortion.tolist() == rows[1]["cameras"][1]["distortion"]
    assert frames[2].cameras[0].intrinsics.ravel().tolist() == rows[2]["cameras"][0]["intrinsics"]
    assert frames[0].source_id == ""


def test_optional_columns_may_be_absent(tmp_path, rows):
    for row in rows:
        del row["label_path"], row["panoptic_path"]
        for camera in row["cameras"]:
            del camera["distortion"]
    frames, _ = read_frames(write_rows(tmp_path / "frames.parquet", rows))
    assert frames[0].label_path is None
    assert frames[0].cameras[1].distortion is None


def test_pandas_and_other_arrow_types_do(tmp_path, rows):
    path = tmp_path / "frames.parquet"
    pd.DataFrame(rows, index=[5, 7, 9]).to_parquet(path)  # brings an index column along
    expected, _ = read_frames(path)
    table = pq.read_table(path)
    wide = table.set_column(
        table.schema.get_field_index("frame_id"), "frame_id", table["frame_id"].cast("large_string")
    )
    wide = wide.set_column(table.schema.get_field_index("index"), "index", table["index"].cast("uint8"))
    lists = pa.array(table["global_from_lidar"].to_pylist(), pa.large_list(pa.float64()))
    wide = wide.set_column(table.schema.get_field_index("global_from_lidar"), "global_from_lidar", lists)
    layout = pa.array(table["lidar_layout"].to_pylist()).dictionary_encode()
    wide = wide.set_column(table.schema.get_field_index("lidar_layout"), "lidar_layout", layout)
    pq.write_table(wide, path, row_group_size=1)  # several chunks
    for one, other in zip(read_frames(path)[0], expected, strict=True):
        assert_equal_frames(one, other)


def put(*keys: Any, value: Any):
    """A change that sets ``row[keys...]`` of row 1."""

    def change(rows: list[dict[str, Any]]) -> None:
        target: Any = rows[1]
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return change


NOT_RIGID = (np.eye(4) * 1.1).ravel().tolist()
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0]).ravel().tolist()
NAN = [math.nan, *np.eye(4).ravel().tolist()[1:]]
NO_FOCUS = [-9.0, 0, 1, 0, 9, 1, 0, 0, 1]
SHEARED = [9.0, 0, 1, 2, 9, 1, 0, 0, 1]
TRANSPOSED = [9.0, 0, 0, 0, 9, 0, 1, 1, 1]
CASES = {
    "parent path": (put("lidar_path", value="../x.bin"), "row 1, column lidar_path", "data root"),
    "hidden parent": (put("lidar_path", value="a/../../x"), "row 1, column lidar_path", "data root"),
    "absolute path": (put("label_path", value="/etc/passwd"), "row 1, column label_path", "data root"),
    "empty path": (put("lidar_path", value=""), "row 1, column lidar_path", "data root"),
    "drive": (put("panoptic_path", value="C:/x"), "row 1, column panoptic_path", "data root"),
    "backslash": (put("lidar_path", value="a\\..\\..\\b"), "row 1, column lidar_path", "data root"),
    "line break": (put("lidar_path", value="a\nb"), "row 1, column lidar_path", "data root"),
    "image path": (put("cameras", 1, "image_path", value="../x"), "camera 1, column cameras.image_path", ""),
    "id with slash": (put("frame_id", value="../x"), "row 1, column frame_id", "is not a valid id"),
    "long id": (put("frame_id", value="x" * 65), "row 1, column frame_id", "is not a valid id"),
    "foreign id": (put("scene_id", value="straße"), "row 1, column scene_id", "is not a valid id"),
    "null id": (put("frame_id", value=None), "row 1, column frame_id", "null"),
    "same id": (put("frame_id", value="frame-0"), "row 1, column frame_id", "already in row 0"),
    "same index": (put("index", value=0), "row 1, column index", "already in row 0"),
    "negative index": (put("index", value=-1), "row 1, column index", "-1"),
    "huge index": (put("index", value=2**40), "row 1, column index", "not within"),
    "layout": (put("lidar_layout", value="ply"), "row 1, column lidar_layout", "'ply' is neither one of"),
    "short pose": (put("global_from_lidar", value=[1.0]), "row 1, column global_from_lidar", "1 numbers"),
    "pose of zeros": (put("global_from_lidar", value=[0.0] * 16), "row 1, column global_from_lidar", "rigid"),
    "scaled pose": (put("global_from_lidar", value=NOT_RIGID), "row 1, column global_from_lidar", "rigid"),
    "mirrored": (put("cameras", 1, "camera_from_lidar", value=MIRROR), "row 1, camera 1", "rigid"),
    "NaN": (put("cameras", 0, "camera_from_lidar", value=NAN), "row 1, camera 0", "not finite"),
    "null number": (put("global_from_lidar", value=[None] * 16), "row 1, column global_from_lidar", "null"),
    "no cameras": (put("cameras", value=None), "row 1, column cameras", "null"),
    "null camera": (put("cameras", 0, value=None), "row 1, camera 0", "null"),
    "no name": (put("cameras", 0, "name", value=""), "row 1, camera 0, column cameras.name", "not a valid"),
    "same name": (put("cameras", 0, "name", value="CAM_BACK"), "row 1, camera 1", "in row 1, camera 0"),
    "no width": (put("cameras", 0, "width", value=0), "row 1, camera 0, column cameras.width", "0"),
    "huge height": (put("cameras", 0, "height", value=10**6), "row 1, camera 0", "not within"),
    "null width": (put("cameras", 1, "width", value=None), "row 1, camera 1, column cameras.width", "null"),
    "focal length": (put("cameras", 0, "intrinsics", value=NO_FOCUS), "row 1, camera 0", "fx"),
    "transposed K": (put("cameras", 0, "intrinsics", value=TRANSPOSED), "row 1, camera 0", "fx"),
    "sheared K": (put("cameras", 0, "intrinsics", value=SHEARED), "row 1, camera 0", "fx"),
    "short K": (put("cameras", 0, "intrinsics", value=[9.0, 9, 1, 1]), "row 1, camera 0", "4 numbers"),
    "distortion": (put("cameras", 1, "distortion", value=[0.1] * 6), "row 1, camera 1", "6 numbers"),
    "wild distortion": (put("cameras", 1, "distortion", value=[math.inf] * 5), "camera 1", "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_bad_cell_is_refused_by_row_and_column(tmp_path, rows, name):
    change, place, words = CASES[name]
    change(rows)
    path = write_rows(tmp_path / "frames.parquet", rows)
    with pytest.raises(UserError) as caught:
        read_frames(path)
    message = str(caught.value)
    assert str(path) in message
    assert place in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("column", [name for name in SCHEMA.names if not SCHEMA.field(name).nullable])
def test_a_missing_column_is_named(tmp_path, rows, column):
    for row in rows:
        del row[column]
    with pytest.raises(UserError, match=f"column {column} is missing"):
        read_frames(write_rows(tmp_path / "f.parquet", rows))


def test_a_missing_field_of_cameras_is_named(tmp_path, rows):
    for row in rows:
        for camera in row["cameras"]:
            del camera["intrinsics"]
    with pytest.raises(UserError, match=r"column cameras\.intrinsics is missing"):
        read_frames(write_rows(tmp_path / "f.parquet", rows))


def test_a_misspelt_column_is_not_passed_over(tmp_path, rows):
    for row in rows:
        for camera in row["cameras"]:
            camera["distortions"] = [0.1] * 5
    with pytest.raises(UserError, match=r"unknown column 'cameras\.distortions'"):
        read_frames(write_rows(tmp_path / "f.parquet", rows))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("frame_id", [1, 2, 3]),
        ("index", ["a", "b", "c"]),
        ("index", [0.0, 1.0, 2.0]),
        ("timestamp_us", [True, False, True]),
        ("lidar_path", [b"a", b"b", b"c"]),
        ("global_from_lidar", ["a", "b", "c"]),
        ("global_from_lidar", [["a"] * 16] * 3),
        ("cameras", [1, 2, 3]),
        ("cameras", [[1], [2], [3]]),
    ],
)
def test_a_column_of_another_type_is_refused(tmp_path, rows, column, values):
    for row, value in zip(rows, values, strict=True):
        row[column] = value
    with pytest.raises(UserError, match=f"column {column}: has .*type"):
        read_frames(write_rows(tmp_path / "f.parquet", rows))


def test_what_is_no_parquet_is_refused(tmp_path, rows):
    path = tmp_path / "frames.parquet"
    with pytest.raises(UserError, match="no file"):
        read_frames(path)
    with pytest.raises(UserError, match="no file"):
        read_frames(tmp_path)
    good = write_rows(tmp_path / "good.parquet", rows).read_bytes()
    for content in (b"", b"PAR1", b"hello" * 100, good[:-1], good[: len(good) // 2], good[8:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a Parquet file"):
            read_frames(path)
    write_rows(path, rows[:1])
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(UserError, match="no frames"):
        read_frames(path)


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"format": 2}',
        b'{"surprise": 1}',
        b'{"dataset": 3}',
        b'{"categories": []}',
        b'{"categories": {"a": "b"}}',
        b'{"categories": {"a": 70000}}',
        b'{"ego_box": [0, 0, 0, 1, 1]}',
        b'{"ego_box": [1, 0, 0, 0, 1, 1]}',
        b'{"ego_box": [-1000, -1000, 0, 1000, 1000, 1]}',
        b'{"ego_box": [NaN, 0, 0, 1, 1, 1]}',
        b'{"taxonomy": 7}',
        b'{"notes": "none"}',
    ],
)
def test_bad_metadata_is_refused(tmp_path, rows, metadata):
    path = write_rows(tmp_path / "frames.parquet", rows)
    pq.write_table(pq.read_table(path).replace_schema_metadata({b"labelgen": metadata}), path)
    with pytest.raises(UserError, match=r"frames\.parquet: (metadata|manifest format 2)"):
        read_frames(path)


def test_metadata_written_by_hand(tmp_path, rows):
    path = write_rows(tmp_path / "frames.parquet", rows)
    content = json.dumps({"dataset": "mine", "dataroot": "/data/mine", "categories": {"road": 7}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"labelgen": content}), path)
    assert read_frames(path)[1] == DatasetInfo("mine", dataroot="/data/mine", categories={"road": 7})


def test_the_vehicle_and_the_classes_come_along(tmp_path):
    info = DatasetInfo(taxonomy="mine.yaml", ego_box=(-1.0, -2.0, -2.0, 1, 2.0, 0.5), notes=("said once",))
    write_frames(tmp_path / "frames.parquet", [make_frame(np.random.default_rng(0))], info)
    found = read_frames(tmp_path / "frames.parquet")[1]
    assert (found.taxonomy, found.ego_box, found.notes) == (info.taxonomy, info.ego_box, info.notes)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    frames = [make_frame(np.random.default_rng(0))]
    path = tmp_path / "frames.parquet"
    write_frames(path, frames, INFO)
    before = path.read_bytes()

    def fail(where, content):
        where.open("xb").write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match="No space left"):
        write_frames(path, frames, INFO)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_could_not_be_read_is_not_written(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "frames.parquet"
    frame = make_frame(rng)
    for frames in ([], [frame, frame]):
        with pytest.raises(UserError):
            write_frames(path, frames, INFO)
    with pytest.raises(UserError, match="cannot write"):
        write_frames(tmp_path / "absent" / "frames.parquet", [frame], INFO)
    assert not path.exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read(tmp_path_factory, data):
    """Whatever bytes change, the reader gives frames or a `UserError`."""
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "frames.parquet"
    write_frames(path, [make_frame(np.random.default_rng(0), k) for k in range(3)], INFO)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        read_frames(path)
