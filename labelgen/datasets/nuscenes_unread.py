"""What nuScenes-shaped calibrations say that a plan does not read, and quaternions in another order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.transforms import rotations_from_quaternions

Record = dict[str, Any]
_READ = frozenset({"token", "sensor_token", "translation", "rotation", "camera_intrinsic"})
#: Of fields that are about the lens, whatever they hold.
_LENS = re.compile("dist|fish|model|lens|rect|skew|coef|omni|shutter|mirror", re.IGNORECASE)
#: What such fields hold where there is nothing to be done.
_NOTHING = frozenset({"", "none", "null", "pinhole", "perspective", "global", "undistorted", "rectified"})
#: Cosine from which a sensor counts as upright, and poses that are looked at.
_UPRIGHT, _MOST = 0.5, 1000
_ORDER = "rotation seems to be in the order x y z w; nuScenes' is w x y z"


def calibration_notes(
    calibrations: Mapping[str, Record], sensors: Mapping[str, Record], poses: Sequence[Record], folder: Path
) -> tuple[str, ...]:
    """A sentence for each thing that the tables say of cameras and that is not read as it is meant.

    Args:
        calibrations: calibrated_sensor by token.
        sensors: sensor by token.
        poses: of ego_pose.
        folder: of the tables.
    """
    unread: dict[str, set[str]] = {}
    cameras = []
    for record in calibrations.values():
        sensor = sensors.get(record["sensor_token"], {})
        if sensor.get("modality") != "camera":
            continue
        cameras.append(record)
        for field in record.keys() - _READ:
            if _matters(field, record[field]):
                unread.setdefault(field, set()).add(sensor["channel"])
    notes = []
    for field, channels in sorted(unread.items()):
        first, more = min(channels), f" and {len(channels) - 1} more" if channels - {min(channels)} else ""
        notes.append(
            f"{folder / 'calibrated_sensor.json'}: {field} of {first}{more} is not read: images are "
            f"assumed to have no distortion; rectify them, or write a frames.parquet with distortion"
        )
    down = _axes([record["rotation"] for record in cameras], 1)
    up = _axes([record["rotation"] for record in poses[:: -(-len(poses) // _MOST) or 1]], 2)
    if _only_other(-down):
        notes.append(f"{folder / 'calibrated_sensor.json'}: {_ORDER}: as it is read, cameras are not upright")
    if _only_other(up):
        notes.append(f"{folder / 'ego_pose.json'}: {_ORDER}: as it is read, the vehicle is not upright")
    return tuple(notes)


def _matters(field: str, value: Any) -> bool:
    """Whether a field that is not read may change where points fall in the image."""
    if isinstance(value, str):
        return bool(_LENS.search(field)) and value.strip().lower() not in _NOTHING
    if value is None:
        return False
    try:
        return bool(np.any(np.asarray(value, np.float64)))
    except (TypeError, ValueError):
        return bool(value)


def _axes(rotations: Sequence[Any], axis: int) -> NDArray[np.float64]:
    """(2, n) height of an axis of each sensor by its quaternion as w x y z, and as x y z w."""
    try:
        quaternions = np.array(rotations, np.float64).reshape(-1, 4)
    except (TypeError, ValueError, OverflowError):
        return np.empty((2, 0))  # told where they are read
    good = quaternions[np.abs(np.linalg.norm(quaternions, axis=1) - 1) < 0.01]
    return np.array([rotations_from_quaternions(np.roll(good, k, axis=1))[:, 2, axis] for k in (0, 1)])


def _only_other(heights: NDArray[np.float64]) -> bool:
    """Whether all sensors are upright in the other order alone."""
    given, other = heights
    return bool(given.size and (given < _UPRIGHT).any() and (other > _UPRIGHT).all())
