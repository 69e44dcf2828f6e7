"""Reads what a frame names beside its images: point cloud and truth; bad files become a `FrameError`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame, PointCloud, parse_layout
from labelgen.core.records import UNLABELLED
from labelgen.datasets.layouts import guess
from labelgen.io.bounded import OversizedError, read_npz
from labelgen.io.magic import cloud_kind
from labelgen.io.paths import digest, read_file

#: Largest file that is read, in bytes.
CLOUD_LIMIT = 1 << 30
#: Most points of a frame: some forty sweeps of the densest rotating LiDAR.
MOST_POINTS = 1 << 23
#: Ring of a point whose stored ring is not a number from 0 to 254.
NO_RING = 255
#: Ending of SemanticKITTI's label files: uint32, the class in the lower half, the instance in the upper.
KITTI_LABELS = ".label"


def load_cloud(root: Path, frame: Frame) -> tuple[PointCloud, str]:
    """Read a frame's point cloud.

    Points that are not finite stay where they are (they project nowhere). A ring that is not a number from
    0 to 254 becomes `NO_RING`.

    Args:
        root: the data root.
        frame: its ``lidar_layout`` says how the records are laid out.

    Returns:
        The cloud in the LiDAR frame, and the hash of the file's bytes.

    Raises:
        FrameError: missing, unreadable, empty or truncated file, one of another kind (it is named), or no
            finite point in it.
    """

    def refuse(problem: str) -> FrameError:
        return FrameError(problem, frame_id=frame.frame_id, path=frame.lidar_path)

    record = parse_layout(frame.lidar_layout).record
    limit = MOST_POINTS * record.itemsize
    too_many = f"a frame may have at most {MOST_POINTS} points; split the cloud"
    too_many = too_many if limit < CLOUD_LIMIT else ""
    data = read_file(root, frame.lidar_path, frame.frame_id, min(CLOUD_LIMIT, limit), too_many)
    if not data:
        raise refuse("the file is empty; copy it again from the data set")
    if kind := cloud_kind(data):
        lost = any(word in kind for word in ("pointer", "server", "zero bytes"))
        mend = (
            "copy it again from the data set" if lost else "write the points as such (docs/frames-parquet.md)"
        )
        raise refuse(f"it is {kind}, not packed records; {mend}")
    names = record.names or ()
    if len(data) % record.itemsize:
        raise refuse(
            f"{len(data)} bytes are not a whole number of {record.itemsize}-byte records "
            f"({', '.join(names)}): "
            f"truncated, or not in layout {frame.lidar_layout!r}; "
            + (guess(data, frame.lidar_layout) or "copy it again from the data set")
        )
    rows = np.frombuffer(data, record)
    columns = {name: rows[name] for name in names}
    with np.errstate(over="ignore", invalid="ignore"):  # of wrong types and "not a number"
        xyz = np.column_stack([columns[axis] for axis in "xyz"]).astype(np.float32, copy=False)
        intensity = np.ascontiguousarray(columns.get("intensity", np.zeros(len(xyz))), np.float32)
        time = np.ascontiguousarray(columns["time"], np.float32) if "time" in columns else None
    if not np.isfinite(xyz).all(axis=1).any():
        raise refuse(f"none of its {len(xyz)} points is finite; copy it again from the data set")
    ring = None
    if "ring" in columns:
        stored = columns["ring"]
        valid = (stored >= 0) & (stored < NO_RING)  # False for NaN
        ring = np.where(valid, stored, NO_RING).astype(np.uint8)
    return PointCloud(xyz=xyz, intensity=intensity, ring=ring, time=time), digest(data)


def load_truth(root: Path, frame: Frame, table: NDArray[np.uint8], points: int | None) -> NDArray[np.uint8]:
    """Read a frame's truth as train ids.

    Args:
        root: the data root.
        frame: its ``label_path`` names a file with one id per point, in the data set's own ids: uint32 whose
            lower 16 bits count for ``*.label`` (SemanticKITTI), else uint8 (nuScenes).
        table: (T,) uint8 train id by the data set's id, from ``Taxonomy.train_id_table``.
        points: how many there must be; None where the cloud is not known (the frame failed).

    Returns:
        (N,) uint8 train ids; 255 for what no class claims.

    Raises:
        FrameError: no truth for this frame, an unreadable file, or another length than the cloud's.
    """
    if frame.label_path is None:
        raise FrameError("the data set has no truth for this frame", frame_id=frame.frame_id)
    width = 4 if frame.label_path.endswith(KITTI_LABELS) else 1
    data = read_file(root, frame.label_path, frame.frame_id, _truth_limit(points, width), _OTHER_TRUTH)
    if width == 4:
        ids = (_kitti_labels(data, frame, frame.label_path) & 0xFFFF).astype(np.int64)
    else:
        ids = np.frombuffer(data, np.uint8).astype(np.int64)
    _check_length(frame, frame.label_path, len(ids), points)
    return _train_ids(ids, table)


def load_panoptic(
    root: Path, frame: Frame, table: NDArray[np.uint8], points: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read which object each point truly belongs to, and of which class that file holds it to be.

    nuScenes' panoptic truth has classes of its own: points in two boxes are noise there and not in the
    lidarseg truth. The evaluations of both data sets read this file alone.

    Args:
        root: the data root.
        frame: its ``panoptic_path`` names an ``npz`` with ``data`` (nuScenes: 1000 x category + instance), or
            a ``*.label`` file whose upper 16 bits count (SemanticKITTI).
        table: as for `load_truth`.
        points: how many there must be; None where the cloud is not known.

    Returns:
        (N,) uint8 train ids, 255 for what no class claims; (N,) int64: equal numbers within one class are one
        instance, 0 included.

    Raises:
        FrameError: as `load_truth`.
    """
    path = frame.panoptic_path
    if path is None:
        raise FrameError("the data set has no instances for this frame", frame_id=frame.frame_id)
    data = read_file(root, path, frame.frame_id, _truth_limit(points, 8), _OTHER_TRUTH)
    if path.endswith(KITTI_LABELS):
        labels = _kitti_labels(data, frame, path)
        ids, numbers = (labels & 0xFFFF).astype(np.int64), (labels >> 16).astype(np.int64)
    else:
        try:
            stored = read_npz(data, "data", _truth_limit(points, 8))
            if stored.ndim != 1 or stored.dtype.kind not in "ui":
                raise ValueError(
                    f"data is {stored.dtype} {stored.shape}, expected one whole number per point"
                )
            numbers = stored.astype(np.int64)
            if numbers.min(initial=0) < 0 or numbers.max(initial=0) >> 32:
                raise ValueError("data holds numbers below 0 or above 32 bits")
            ids = numbers // 1000
        except OversizedError as error:
            raise FrameError(
                f"{error} for {'any number of' if points is None else points} points; it belongs to another "
                "cloud or is damaged: copy it again from the data set",
                frame_id=frame.frame_id,
                path=path,
            ) from None
        except Exception as error:  # on broken bytes zipfile and numpy raise whatever they come upon
            raise FrameError(
                f"not an npz with 'data' ({error}); copy it again from the data set",
                frame_id=frame.frame_id,
                path=path,
            ) from None
    _check_length(frame, path, len(ids), points)
    return _train_ids(ids, table), numbers


_OTHER_TRUTH = "not read, because it is far larger than the points need: the truth belongs to another cloud"


def _truth_limit(points: int | None, width: int) -> int:
    """Bytes of truth that are read and unpacked: more than needed, so that the labels can be counted."""
    return (MOST_POINTS if points is None else 2 * points + 4096) * width


def _train_ids(ids: NDArray[np.int64], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    known = np.full(len(table) + 1, UNLABELLED, np.uint8)
    known[:-1] = table
    out: NDArray[np.uint8] = known[np.minimum(ids, len(table))]
    return out


def _kitti_labels(data: bytes, frame: Frame, path: str) -> NDArray[np.uint32]:
    if len(data) % 4:
        raise FrameError(
            f"{len(data)} bytes are not a whole number of uint32 labels; the file is truncated",
            frame_id=frame.frame_id,
            path=path,
        )
    return np.frombuffer(data, "<u4")


def _check_length(frame: Frame, path: str, found: int, points: int | None) -> None:
    if points is not None and found != points:
        raise FrameError(
            f"{found} labels for {points} points; the truth belongs to another cloud or is truncated",
            frame_id=frame.frame_id,
            path=path,
        )
