"""ScaLR: the index files that its loaders open and its repository cannot make."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelgen.datasets.nuscenes import LIDAR
from labelgen.exports.output import Output
from labelgen.exports.source import Source
from labelgen.records import UNLABELLED


def write_scalr(source: Source, out: Output, split: str) -> None:
    """The index of a split.

    ``nuscenes_data_<split>.npy``: {number: {"point": ..., "CAM_*": ...}}, each with file name, calibration
    and pose, pickled as ScaLR reads it. ``list_files_nuscenes.npz``: paths of points and labels, tokens.
    ``mapping_class_index_nuscenes.npy``: (256,) int64, class (from 1; 0: ignored) of each id in label files.

    Raises:
        UserError: the data root holds no nuScenes tables, or its categories do not fit the taxonomy.
    """
    tables = source.tables
    by_lidar = {shots[LIDAR]["token"]: shots for shots in tables.keyframes.values() if LIDAR in shots}
    index: dict[int, dict[str, Any]] = {}
    files: list[tuple[str, str, str]] = []
    for number, (frame, _) in enumerate(source.frames()):
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
    np.save(out.path(f"nuscenes_data_{split}.npy"), np.array(index, dtype=object), allow_pickle=True)
    np.savez(out.path("list_files_nuscenes.npz"), **{split: np.array(files)})
    # Signed and from 1: the loader subtracts 1 and takes -1 for what is to be ignored.
    classes = source.taxonomy.train_id_table(source.info.categories).astype(np.int64) + 1
    classes[classes == UNLABELLED + 1] = 0
    np.save(out.path("mapping_class_index_nuscenes.npy"), classes, allow_pickle=False)
