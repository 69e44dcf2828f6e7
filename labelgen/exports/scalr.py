"""ScaLR: the index files that its loaders open and its repository cannot make."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelgen.datasets.nuscenes import LIDAR
from labelgen.exports.output import Output
from labelgen.exports.source import Source


def write_scalr(source: Source, out: Output, split: str) -> None:
    """The index of a split.

    ``nuscenes_data_<split>.npy``: {number: {"point": ..., "CAM_*": ...}}, each with file name, calibration
    and pose, pickled as ScaLR reads it. ``list_files_nuscenes.npz``: paths of points and labels, tokens.

    Raises:
        UserError: the data root holds no nuScenes tables.
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
