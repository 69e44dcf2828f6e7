"""ScaLR: the index files that its loaders open and its repository cannot make."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.datasets.nuscenes import LIDAR
from labelgen.exports.output import Output, already_there
from labelgen.exports.tables import tables_of
from labelgen.io.bounded import read_npz
from labelgen.runs import Run

_FRAMES = "nuscenes_data_{}.npy"
_LISTS = "list_files_nuscenes.npz"
_CLASSES = "mapping_class_index_nuscenes.npy"
#: Bytes of a split's list; that of nuScenes' largest has 50 million.
_LARGEST = 1 << 30


def write_scalr(run: Run, out: Output, split: str) -> None:
    """The index of a split, beside those of other splits that are there: the loaders want one folder.

    ``nuscenes_data_<split>.npy``: {number: {"point": ..., "CAM_*": ...}}, each with file name, calibration
    and pose, pickled as ScaLR reads it. ``list_files_nuscenes.npz``: split by split, paths of points
    and labels, tokens.
    ``mapping_class_index_nuscenes.npy``: (256,) int64, class (from 1; 0: ignored) of each id in label files.

    Raises:
        UserError: the data root holds no nuScenes tables, its categories do not fit the taxonomy, or the
            folder holds this split, other classes or anything else.
    """
    # Signed and from 1: the loader subtracts 1 and takes -1 for what is to be ignored.
    classes = run.taxonomy.train_id_table(run.dataset.categories).astype(np.int64) + 1
    classes[classes == UNLABELLED + 1] = 0
    np.save(out.path(_CLASSES), classes, allow_pickle=False)
    lists = {} if out.before is None else _other_splits(out.before, split, out.folder / _CLASSES)
    tables = tables_of(run)
    by_lidar = {shots[LIDAR]["token"]: shots for shots in tables.keyframes.values() if LIDAR in shots}
    index: dict[int, dict[str, Any]] = {}
    files: list[tuple[str, str, str]] = []
    for number, frame in enumerate(map(run.planned, run.frames)):
        entry = {}
        for channel, shot in by_lidar[frame.frame_id].items():
            if channel == LIDAR or channel.startswith("CAM_"):
                entry["point" if channel == LIDAR else channel] = {
                    "filename": shot["filename"],
                    "cs_record": tables.calibrations[shot["calibrated_sensor_token"]],
                    "poserecord": tables.poses[shot["ego_pose_token"]],
                }
        index[number] = entry
        files.append((frame.lidar_path, frame.label_path or "", frame.frame_id))
    np.save(out.path(_FRAMES.format(split)), np.array(index, dtype=object), allow_pickle=True)
    np.savez(out.path(_LISTS), **lists, **{split: np.array(files)})


def _other_splits(folder: Path, split: str, classes: Path) -> dict[str, NDArray[Any]]:
    """The lists in a folder that is nothing but an export of other splits with the same classes.

    Raises:
        UserError: it is not.
    """
    found = {path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    if len(found) < len(list(folder.iterdir())) or not {_LISTS, _CLASSES} <= found:
        raise already_there(folder)
    data = (folder / _LISTS).read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            lists = {name: read_npz(data, name, _LARGEST) for name in stored.files}
    except Exception as error:  # on broken bytes zipfile and numpy raise whatever they come upon
        raise UserError(f"{folder / _LISTS} is damaged; export all splits into a new folder") from error
    if split in lists:
        raise UserError(f"{folder} already holds the split {split}; exports never overwrite anything")
    # A file of this split that no list knows was left by an export that was broken off.
    if found - {_FRAMES.format(split)} != {_LISTS, _CLASSES, *map(_FRAMES.format, lists)}:
        raise already_there(folder)
    if (folder / _CLASSES).read_bytes() != classes.read_bytes():
        raise UserError(f"{folder} has other classes, of another taxonomy; export into a new folder")
    return lists
