"""frames.parquet: the plan of a run, one row per frame; also the door for data of your own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelgen.core.errors import UserError
from labelgen.core.frame import Camera, Frame, parse_layout
from labelgen.datasets.columns import Columns
from labelgen.datasets.info import METADATA, DatasetInfo, decode_info, encode_info
from labelgen.io.bounded import read_parquet
from labelgen.io.paths import UNSAFE_ID, UNSAFE_PATH
from labelgen.io.seal import sealed_parquet

#: Numbers of coefficients that OpenCV's distortion model has.
DISTORTION_LENGTHS = (4, 5, 8, 12, 14)
_INT32 = 2**31 - 1
_TIME = 2**62
_LONGEST_SIDE = 65535
_MOST_CAMERAS = 254
_NO_PATH = "is not a path below the data root; give it relative to the data root, without '..'"
_NO_ID = "is not a valid id; use 1 to 64 of A-Z a-z 0-9 . _ + @ = -, starting with a letter or digit"


def _field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _matrix(side: int) -> pa.DataType:
    return pa.list_(_field("item", pa.float64()), side * side)


CAMERA_SCHEMA = pa.schema(
    [
        _field("name", pa.string()),
        _field("image_path", pa.string()),
        _field("width", pa.int32()),
        _field("height", pa.int32()),
        _field("intrinsics", _matrix(3)),
        _field("camera_from_lidar", _matrix(4)),
        _field("timestamp_us", pa.int64()),
        pa.field("distortion", pa.list_(_field("item", pa.float64()))),
    ]
)
SCHEMA = pa.schema(
    [
        _field("frame_id", pa.string()),
        _field("scene_id", pa.string()),
        _field("index", pa.int32()),
        _field("timestamp_us", pa.int64()),
        _field("lidar_path", pa.string()),
        _field("lidar_layout", pa.string()),
        _field("global_from_lidar", _matrix(4)),
        _field("cameras", pa.list_(_field("item", pa.struct(list(CAMERA_SCHEMA))))),
        pa.field("label_path", pa.string()),
        pa.field("panoptic_path", pa.string()),
        pa.field("source_id", pa.string()),
    ]
)


def encode_frames(frames: Sequence[Frame], info: DatasetInfo, where: str = "frames.parquet") -> bytes:
    """The content of ``frames.parquet``; equal arguments give equal bytes.

    Args:
        frames: of the plan.
        info: what holds for all of them.
        where: how messages name the file.

    Raises:
        UserError: what `decode_frames` would refuse.
    """
    table = _table(frames)
    _Checked(table, where)
    return sealed_parquet(table.replace_schema_metadata({METADATA: encode_info(info, where)}))


def decode_frames(content: bytes, where: str) -> tuple[list[Frame], DatasetInfo]:
    """The frames in the file's order, and what holds for all of them; the data root as it is recorded.

    Raises:
        UserError: no Parquet, or content against ``docs/frames-parquet.md``; the message names file, row and
            column.
    """
    try:
        table = read_parquet(content)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{where}: not a Parquet file that can be read: {' '.join(str(error).split())}"
        ) from None
    info = decode_info((table.schema.metadata or {}).get(METADATA, b"{}"), where)
    return _Checked(table, where).frames(), info


def write_frames(path: Path, frames: Sequence[Frame], info: DatasetInfo) -> None:
    """Write ``frames.parquet``; equal arguments give equal bytes, and no reader sees half a file.

    Raises:
        UserError: what `read_frames` would refuse, or the folder cannot be written.
    """
    path = Path(path)
    content = encode_frames(frames, info, str(path))
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_frames(path: Path) -> tuple[list[Frame], DatasetInfo]:
    """Read and check ``frames.parquet``, be it a plan of ours or written by hand.

    Returns:
        The frames in the file's order, and what holds for all of them. Where the file records no data root,
        it is the folder that the file lies in.

    Raises:
        UserError: no such file, no Parquet, or content against ``docs/frames-parquet.md``; the message names
            file, row and column.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no file {path}; a run of `labelgen run` holds one, or see docs/frames-parquet.md")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    frames, info = decode_frames(content, str(path))
    return frames, info if info.dataroot else replace(info, dataroot=str(path.resolve().parent))


class _Checked:
    """A table whose every value has been checked, column by column."""

    def __init__(self, table: pa.Table, where: str) -> None:
        if table.num_rows == 0:
            raise UserError(f"{where}: no frames")
        arrays = {name: _one_chunk(table[name]) for name in table.schema.names}
        rows = Columns.of(arrays, SCHEMA, where, "", lambda row: f"row {row}")
        self.rows = _check_rows(rows)
        cameras, self.counts = rows.lists("cameras")
        if (self.counts > _MOST_CAMERAS).any():
            row = int(np.argmax(self.counts > _MOST_CAMERAS))
            raise rows.refuse("cameras", row, f"{self.counts[row]} cameras; the maximum is {_MOST_CAMERAS}")
        if not pa.types.is_struct(cameras.type):
            raise rows.refuse("cameras", None, f"has items of type {cameras.type}, expected a struct")
        ends = np.cumsum(self.counts)

        def place(flat: int) -> str:
            row = int(np.searchsorted(ends, flat, side="right"))
            return f"row {row}, camera {flat - int(ends[row] - self.counts[row])}"

        if cameras.null_count:
            raise UserError(f"{where}: {place(cameras.is_null().index(True).as_py())}: is null")
        names = [cameras.type.field(k).name for k in range(cameras.type.num_fields)]
        fields = dict(zip(names, cameras.flatten(), strict=True))
        owners = np.repeat(np.arange(len(self.counts)), self.counts).tolist()
        self.cameras = _check_cameras(Columns.of(fields, CAMERA_SCHEMA, where, "cameras.", place), owners)

    def frames(self) -> list[Frame]:
        """The records; the fields of `Frame` and `Camera` have the names of the columns."""
        names = CAMERA_SCHEMA.names
        parts = zip(*(self.cameras[name] for name in names), strict=True)
        cameras = [Camera(**dict(zip(names, values, strict=True))) for values in parts]
        ends = np.cumsum(self.counts).tolist()
        begins = [0, *ends[:-1]]
        columns = self.rows | {"cameras": [tuple(cameras[a:b]) for a, b in zip(begins, ends, strict=True)]}
        parts = zip(*(columns[name] for name in SCHEMA.names), strict=True)
        return [Frame(**dict(zip(SCHEMA.names, values, strict=True))) for values in parts]


def _check_rows(rows: Columns) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {
        "frame_id": rows.text("frame_id", UNSAFE_ID, _NO_ID),
        "scene_id": rows.text("scene_id", UNSAFE_ID, _NO_ID),
        "index": rows.integers("index", 0, _INT32),
        "timestamp_us": rows.integers("timestamp_us", 0, _TIME),
        "lidar_path": rows.text("lidar_path", UNSAFE_PATH, _NO_PATH),
        "lidar_layout": rows.text("lidar_layout"),
        "global_from_lidar": list(rows.transforms("global_from_lidar")),
        "label_path": rows.text("label_path", UNSAFE_PATH, _NO_PATH),
        "panoptic_path": rows.text("panoptic_path", UNSAFE_PATH, _NO_PATH),
        "source_id": [text or "" for text in rows.text("source_id")],
    }
    for row, layout in enumerate(out["lidar_layout"]):
        try:
            parse_layout(layout)
        except ValueError as error:
            raise rows.refuse("lidar_layout", row, str(error)) from None
    rows.unique("frame_id", out["frame_id"])
    rows.unique("index", list(zip(out["scene_id"], out["index"], strict=True)))
    return out


def _check_cameras(cameras: Columns, owners: list[int]) -> dict[str, list[Any]]:
    intrinsics = cameras.matrices("intrinsics", 3)
    pinhole = (intrinsics[:, [0, 1], [0, 1]] > 0).all(axis=1) & (intrinsics[:, 1, 0] == 0)
    pinhole &= (intrinsics[:, 2] == [0, 0, 1]).all(axis=1)
    if not pinhole.all():
        problem = "not [fx s cx 0 fy cy 0 0 1] with positive fx and fy"
        raise cameras.refuse("intrinsics", int(np.argmin(pinhole)), problem)
    out: dict[str, list[Any]] = {
        "name": cameras.text("name", UNSAFE_ID, _NO_ID),
        "image_path": cameras.text("image_path", UNSAFE_PATH, _NO_PATH),
        "width": cameras.integers("width", 1, _LONGEST_SIDE),
        "height": cameras.integers("height", 1, _LONGEST_SIDE),
        "intrinsics": list(intrinsics),
        "camera_from_lidar": list(cameras.transforms("camera_from_lidar")),
        "timestamp_us": cameras.integers("timestamp_us", 0, _TIME),
        "distortion": cameras.vectors("distortion", DISTORTION_LENGTHS),
    }
    cameras.unique("name", list(zip(owners, out["name"], strict=True)))
    return out


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _table(frames: Sequence[Frame]) -> pa.Table:
    cameras = [camera for frame in frames for camera in frame.cameras]
    columns: list[list[pa.Array]] = []
    for part, owners in ((CAMERA_SCHEMA, cameras), (SCHEMA, frames)):
        arrays = []
        for column in part:
            if column.name == "cameras":
                offsets = np.cumsum([0] + [len(frame.cameras) for frame in frames], dtype=np.int32)
                structs = pa.StructArray.from_arrays(columns[0], fields=list(CAMERA_SCHEMA))
                arrays.append(pa.ListArray.from_arrays(pa.array(offsets), structs, type=column.type))
                continue
            values = [getattr(owner, column.name) for owner in owners]
            if pa.types.is_fixed_size_list(column.type):
                flat = np.concatenate(values, axis=None) if values else np.zeros(0)
                arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), type=column.type))
            else:
                arrays.append(pa.array(values, column.type))
        columns.append(arrays)
    return pa.Table.from_arrays(columns[1], schema=SCHEMA)


def plan_manifest(dataroot: Path, version: str = "", split: str = "") -> tuple[list[Frame], DatasetInfo]:
    """The frames of a ``frames.parquet``.

    Args:
        dataroot: the file itself, whose paths are then relative to the data root that it records; or the
            data root, which then holds ``frames.parquet``, whatever data root that records.
        version: must be empty.
        split: a comma list of scene ids, or empty for all.

    Raises:
        UserError: as `read_frames`, or no such scene.
    """
    if version:
        raise UserError(f"a frames.parquet has no versions; leave out version {version!r}")
    dataroot = Path(dataroot).absolute()
    frames, info = read_frames(dataroot / "frames.parquet" if dataroot.is_dir() else dataroot)
    if dataroot.is_dir():
        info = replace(info, dataroot=str(dataroot))
    wanted = {name.strip() for name in split.split(",") if name.strip()}
    if missing := wanted - {frame.scene_id for frame in frames}:
        raise UserError(f"{dataroot}: no scene {', '.join(sorted(missing))}")
    chosen = [frame for frame in frames if not wanted or frame.scene_id in wanted]
    return chosen, replace(info, split=split)
