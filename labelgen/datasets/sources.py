"""Identity of a frame's sources: what must change for the frame to be labelled anew."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Frame

#: Of metres and pixels; what another machine rounds otherwise is no change.
_DECIMALS = 6


def with_source_ids(root: Path, frames: Sequence[Frame], threads: int = 32) -> tuple[list[Frame], int]:
    """Set ``source_id`` of every frame that has none.

    It is the blake2b-128 of size and modification time of the LiDAR file and the images, their relative
    paths, and the calibration and poses that the frame carries. A missing file counts as such, so that a
    frame is labelled anew when the file appears.

    Args:
        root: the data root.
        frames: in any order.
        threads: that ask the file system; on network disks each answer takes about a millisecond.

    Returns:
        The frames in the same order, and how many of the files are missing.
    """
    todo = [frame for frame in frames if not frame.source_id]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda frame: _identify(str(root), frame), todo))
    ids = {frame.frame_id: identity for frame, (identity, _) in zip(todo, found, strict=True)}
    named = [replace(f, source_id=ids[f.frame_id]) if not f.source_id else f for f in frames]
    return named, sum(missing for _, missing in found)


def differs(before: Frame, now: Frame) -> str:
    """What of a frame's sources is not the same, but for what its files hold: in words, or empty."""
    if _paths(before) != _paths(now):
        return "names of files"
    if before.lidar_layout != now.lidar_layout:
        return "layout of the LiDAR file"
    if not _equal(before.global_from_lidar, now.global_from_lidar):
        return "pose"
    for one, other in zip(before.cameras, now.cameras, strict=True):
        if (one.name, one.width, one.height) != (other.name, other.width, other.height):
            return "name or size of a camera"
        if not (
            _equal(one.intrinsics, other.intrinsics)
            and _equal(one.camera_from_lidar, other.camera_from_lidar)
            and _equal(one.distortion, other.distortion)
        ):
            return "calibration"
    return ""


def _paths(frame: Frame) -> list[str]:
    return [frame.lidar_path, *(camera.image_path for camera in frame.cameras)]


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(values, _DECIMALS) + 0.0  # no minus zero
    return rounded


def _equal(one: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(_rounded(one), _rounded(other))


def _identify(root: str, frame: Frame) -> tuple[str, int]:
    missing = 0
    hasher = hashlib.blake2b(digest_size=16)
    for path in _paths(frame):
        try:
            found = os.stat(os.path.join(root, path))
            mark = f"{found.st_size} {found.st_mtime_ns}"
        except (OSError, ValueError):
            mark = "missing"
            missing += 1
        hasher.update(f"{path}\0{mark}\0".encode(errors="surrogateescape"))
    matrices = [frame.global_from_lidar.ravel()]
    for camera in frame.cameras:
        matrices += [camera.intrinsics.ravel(), camera.camera_from_lidar.ravel()]
        if camera.distortion is not None:
            matrices.append(np.asarray(camera.distortion, np.float64).ravel())
        hasher.update(f"{camera.name} {camera.width} {camera.height}\0".encode())
    hasher.update(f"{frame.lidar_layout}\0".encode())
    hasher.update(_rounded(np.concatenate(matrices)).tobytes())
    return hasher.hexdigest(), missing
