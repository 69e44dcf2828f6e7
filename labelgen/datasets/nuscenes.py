"""nuScenes: from its tables to frames, with the ego motion between the sensors' timestamps in float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.frame import Camera, Frame
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.nuscenes_splits import official_splits
from labelgen.datasets.nuscenes_tables import Record, Tables, choose_version, look_up, read_json, read_tables
from labelgen.datasets.transforms import invert_rigid, rigid, rotations_from_quaternions
from labelgen.geometry.ego import NUSCENES_EGO_BOX
from labelgen.io.paths import is_safe_id

LIDAR = "LIDAR_TOP"
#: Of a sweep between keyframes and its images.
MOST_APART_US = 100_000
#: Clockwise, as the devkit's users know them; further cameras follow in the order of the sensor table.
CAMERA_ORDER = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)


def plan_nuscenes(
    dataroot: Path, version: str = "", split: str = "", sweeps: int = 0
) -> tuple[list[Frame], DatasetInfo]:
    """The keyframes of a nuScenes data root, and sweeps between them if asked for.

    A frame's id is the token of its LIDAR_TOP sample_data, its scene the scene's name. Cameras stand in the
    order of `CAMERA_ORDER`; one without a record for a keyframe is left out of that frame. A sweep between
    keyframes has no truth, and of each camera the image nearest in time, if that is within `MOST_APART_US`.

    Args:
        dataroot: the folder that holds the version's folder and ``samples/``.
        version: e.g. ``v1.0-mini``; empty for the only one there is.
        split: one of the devkit's (``train``, ``val``, ``mini_val`` ...) or of the version's
            ``splits.json``, a comma list of scene names, or empty for all scenes.
        sweeps: so many between one keyframe and the next, evenly spread; fewer where there are fewer.

    Returns:
        The frames, ordered by scene as in the table, then by time, and what holds for all of them.

    Raises:
        UserError: wrong data root, version or split; a missing or broken table.
    """
    dataroot = Path(dataroot).absolute()
    version = choose_version(dataroot, version)
    tables = read_tables(dataroot / version, sweeps > 0)
    names = _scenes_of(tables, split)
    info = DatasetInfo(
        "nuscenes", version, split, str(dataroot), tables.categories,
        taxonomy="nuscenes16", ego_box=NUSCENES_EGO_BOX, notes=tables.notes,
    )  # fmt: skip
    return _frames(tables, names, sweeps), info


def _scenes_of(tables: Tables, split: str) -> set[str]:
    present = [scene["name"] for scene in tables.scenes]
    if not split:
        return set(present)
    wanted = _splits(tables).get(split)
    if wanted is not None:
        chosen = set(wanted) & set(present)
        if not chosen:
            raise UserError(
                f"no scene of split {split!r} is in {tables.where}; its scenes are {_few(present)}"
            )
        return chosen
    chosen = {name.strip() for name in split.split(",") if name.strip()}
    if not chosen or not chosen <= set(present):
        missing = ", ".join(sorted(chosen - set(present))) or repr(split)
        raise UserError(
            f"{missing} is neither a split nor a scene of {tables.where}; its scenes are {_few(present)}; "
            f"splits are {', '.join(sorted(_splits(tables)))}"
        )
    return chosen


def _splits(tables: Tables) -> dict[str, list[str]]:
    custom = {}
    path = tables.where / "splits.json"
    if path.is_file():
        custom = read_json(path)
        lists = custom.values() if isinstance(custom, dict) else [None]
        if not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists):
            raise UserError(f"{path}: expected {{split: [scene names]}}")
    return custom | {name: list(scenes) for name, scenes in official_splits().items()}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _frames(tables: Tables, names: set[str], sweeps: int) -> list[Frame]:
    folder = tables.where
    known = {sensor["channel"] for sensor in tables.sensors.values() if sensor["modality"] == "camera"}
    rig = [channel for channel in CAMERA_ORDER if channel in known]
    rig += [
        s["channel"] for s in tables.sensors.values() if s["channel"] in known and s["channel"] not in rig
    ]
    samples: dict[str, list[Record]] = {scene["token"]: [] for scene in tables.scenes}
    for sample in tables.samples:
        look_up(samples, sample, "scene_token", folder, "sample").append(sample)

    chosen: list[tuple[str, int, Record]] = []  # scene, index in it, the LiDAR's record
    shots: list[tuple[int, str, Record]] = []  # number of the frame, channel, the camera's record
    for scene in tables.scenes:
        if scene["name"] not in names:
            continue
        ordered = sorted(samples[scene["token"]], key=lambda s: (s["timestamp"], s["token"]))
        shown: list[dict[str, Record]] = []
        for sample in ordered:
            shown.append(tables.keyframes[sample["token"]])
            if LIDAR not in shown[-1]:
                raise UserError(f"{folder}: sample {sample['token']!r} has no keyframe of {LIDAR}")
        if sweeps:
            shown = _with_sweeps(shown, tables.sweeps[scene["token"]], rig, sweeps)
        for index, channels in enumerate(shown):
            shots += [(len(chosen), channel, channels[channel]) for channel in rig if channel in channels]
            chosen.append((scene["name"], index, channels[LIDAR]))
    for name in (text for scene, _, lidar in chosen for text in (scene, lidar["token"])):
        if not is_safe_id(name):
            raise UserError(f"{folder}: {name!r} cannot serve as the name of a scene or frame")
    if not chosen:
        raise UserError(f"{folder}: the chosen scenes hold no samples")

    global_from_lidar = _global_from_sensor(tables, [lidar for _, _, lidar in chosen])
    owner = [number for number, _, _ in shots]
    records = [record for _, _, record in shots]
    camera_from_lidar = invert_rigid(_global_from_sensor(tables, records)) @ global_from_lidar[owner]
    intrinsics = _numbers(
        [_calibration(tables, r)["camera_intrinsic"] for r in records],
        (3, 3),
        [r["calibrated_sensor_token"] for r in records],
        f"{folder / 'calibrated_sensor.json'}, field camera_intrinsic",
    )
    cameras: list[list[Camera]] = [[] for _ in chosen]
    for (number, channel, record), matrix, transform in zip(
        shots, intrinsics, camera_from_lidar, strict=True
    ):
        if record["width"] <= 0 or record["height"] <= 0:
            raise UserError(
                f"{folder / 'sample_data.json'}: record {record['token']!r}: the image has no size"
            )
        cameras[number].append(
            Camera(
                name=channel,
                image_path=record["filename"],
                width=record["width"],
                height=record["height"],
                intrinsics=matrix,
                camera_from_lidar=transform,
                timestamp_us=record["timestamp"],
            )
        )
    lidarseg, panoptic = (tables.labels.get(task, {}) for task in ("lidarseg", "panoptic"))
    return [
        Frame(
            frame_id=lidar["token"],
            scene_id=scene,
            index=index,
            timestamp_us=lidar["timestamp"],
            lidar_path=lidar["filename"],
            lidar_layout="nuscenes",
            global_from_lidar=global_from_lidar[number],
            cameras=tuple(cameras[number]),
            label_path=lidarseg.get(lidar["token"]),
            panoptic_path=panoptic.get(lidar["token"]),
        )
        for number, (scene, index, lidar) in enumerate(chosen)
    ]


def _with_sweeps(
    keyframes: list[dict[str, Record]], records: dict[str, list[Record]], rig: list[str], count: int
) -> list[dict[str, Record]]:
    """Keyframes and ``count`` sweeps between each two of them, each with the records of its channels."""
    times = {channel: np.array([r["timestamp"] for r in records.get(channel, ())]) for channel in rig}
    between = [record for record in records.get(LIDAR, ()) if not record["is_key_frame"]]
    at = np.array([record["timestamp"] for record in between])
    out = keyframes[:1]
    for before, after in pairwise(keyframes):
        begin, end = np.searchsorted(at, [before[LIDAR]["timestamp"], after[LIDAR]["timestamp"]])
        steps = np.linspace(begin - 1, end, count + 2).round().astype(int)[1:-1]
        for number in np.unique(steps[(steps >= begin) & (steps < end)]):
            time, channels = int(at[number]), {LIDAR: between[number]}
            for channel in rig:
                if len(times[channel]):
                    nearest = int(np.abs(times[channel] - time).argmin())
                    if abs(int(times[channel][nearest]) - time) <= MOST_APART_US:
                        channels[channel] = records[channel][nearest]
            out.append(channels)
        out.append(after)
    return out


def _calibration(tables: Tables, record: Record) -> Record:
    found: Record = tables.calibrations[record["calibrated_sensor_token"]]
    return found


def _global_from_sensor(tables: Tables, records: Sequence[Record]) -> NDArray[np.float64]:
    """(n, 4, 4): each sensor's pose in the global frame at its own timestamp."""
    poses = [look_up(tables.poses, r, "ego_pose_token", tables.where, "sample_data") for r in records]
    calibrations = [_calibration(tables, record) for record in records]
    global_from_ego = _transforms(poses, str(tables.where / "ego_pose.json"))
    return global_from_ego @ _transforms(calibrations, str(tables.where / "calibrated_sensor.json"))


def _transforms(records: Sequence[Record], where: str) -> NDArray[np.float64]:
    tokens = [record["token"] for record in records]
    rotation = _numbers([r["rotation"] for r in records], (4,), tokens, f"{where}, field rotation")
    translation = _numbers([r["translation"] for r in records], (3,), tokens, f"{where}, field translation")
    length = np.linalg.norm(rotation, axis=1)
    if len(length) and (worst := int(np.abs(length - 1).argmax())) >= 0 and abs(length[worst] - 1) > 1e-3:
        raise UserError(f"{where}: record {tokens[worst]!r}: rotation is not a unit quaternion")
    return rigid(rotations_from_quaternions(rotation), translation)


def _numbers(
    values: Sequence[Any], shape: tuple[int, ...], tokens: Sequence[str], where: str
) -> NDArray[np.float64]:
    """(n, *shape) float64 from JSON lists; the error names the record."""
    try:
        array = np.array(values, np.float64).reshape(len(values), *shape)
        if np.isfinite(array).all():
            return array
    except (ValueError, TypeError, OverflowError):
        pass
    for value, token in zip(values, tokens, strict=True):
        try:
            array = np.array(value, np.float64)
        except (ValueError, TypeError, OverflowError):
            array = np.empty(0)
        if array.shape != shape or not np.isfinite(array).all():
            raise UserError(
                f"{where}, record {token!r}: expected {' x '.join(map(str, shape))} finite numbers; "
                "extract the data set's metadata again"
            )
    raise AssertionError("the whole array failed, but none of its parts did")
