"""SemanticKITTI: sequences with calibration, poses, times, images and labels, to frames.

Layout below the data root: ``sequences/SS/{calib.txt, poses.txt, times.txt, velodyne/, image_2/, labels/}``;
``labels`` may be absent. What other systems and second downloads leave among scans and images
(``._000000.bin``, ``000000 (1).bin``, ``Thumbs.db``) is passed over: a file counts if its name is a number.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.core.frame import Camera, Frame
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.transforms import find_not_rigid, invert_rigid
from labelgen.io.paths import is_safe_id

#: Ids in the label files' lower 16 bits, as published with the data set.
CATEGORIES = {
    "unlabeled": 0, "outlier": 1, "car": 10, "bicycle": 11, "bus": 13, "motorcycle": 15, "on-rails": 16,
    "truck": 18, "other-vehicle": 20, "person": 30, "bicyclist": 31, "motorcyclist": 32, "road": 40,
    "parking": 44, "sidewalk": 48, "other-ground": 49, "building": 50, "fence": 51, "other-structure": 52,
    "lane-marking": 60, "vegetation": 70, "trunk": 71, "terrain": 72, "pole": 80, "traffic-sign": 81,
    "other-object": 99, "moving-car": 252, "moving-bicyclist": 253, "moving-person": 254,
    "moving-motorcyclist": 255, "moving-on-rails": 256, "moving-bus": 257, "moving-truck": 258,
    "moving-other-vehicle": 259,
}  # fmt: skip
#: Sequences of the benchmark's splits.
SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{number}" for number in range(11, 22)),
}
CAMERA = "image_2"
#: x, y, z minima, then maxima, metres: x forward, y left; the car (VW Passat) is 4.8 m long.
EGO_BOX = (-2.5, -1.2, -1.9, 1.8, 1.2, 0.3)


def plan_semantickitti(dataroot: Path, version: str = "", split: str = "") -> tuple[list[Frame], DatasetInfo]:
    """The scans of a SemanticKITTI data root, each with the left colour camera.

    A frame's id is ``SS_NNNNNN``, its scene the sequence. With P2 = K [I | t], t is part of
    ``camera_from_lidar`` = [I t; 0 1] Tr. Poses are those of ``poses.txt`` (of the left grey camera), taken
    to the LiDAR: global is the LiDAR's frame at the first scan.

    Args:
        dataroot: the folder that holds ``sequences/``.
        version: must be empty.
        split: ``train``, ``val``, ``test``, a comma list of sequences, or empty for all that are there.

    Raises:
        UserError: wrong data root or split; a missing or broken calibration, pose or time.
    """
    if version:
        raise UserError(f"SemanticKITTI has no versions; leave out version {version!r}")
    dataroot = Path(dataroot).absolute()
    folder = dataroot / "sequences"
    present = sorted(
        path.name for path in folder.glob("*") if is_safe_id(path.name) and (path / "velodyne").is_dir()
    )
    if not present:
        raise UserError(f"{folder} holds no sequence with velodyne/; name the folder above sequences/")
    wanted = SPLITS.get(split) or tuple(name.strip() for name in split.split(",") if name.strip()) or present
    if missing := set(wanted) - set(present):
        raise UserError(
            f"no sequence {', '.join(sorted(missing))} in {folder}; choose from {', '.join(present)}; "
            f"splits are {', '.join(SPLITS)}"
        )
    frames = [frame for sequence in wanted for frame in _sequence(dataroot, sequence)]
    return frames, DatasetInfo(
        "semantickitti", "", split, str(dataroot), dict(CATEGORIES),
        taxonomy="semantickitti19", ego_box=EGO_BOX,
        notes=tuple(
            note
            for sequence in wanted
            for note in (*_unread(folder / sequence / "calib.txt"), *_lost(folder / sequence / "velodyne"))
        ),
    )  # fmt: skip


def _sequence(root: Path, sequence: str) -> list[Frame]:
    folder = root / "sequences" / sequence
    scans = _numbered(folder / "velodyne", ".bin")
    if not scans:
        raise UserError(f"{folder / 'velodyne'} holds no scans (000000.bin and so on)")
    calibration = _calibration(folder / "calib.txt")
    Tr, P2 = np.vstack([calibration["Tr"], [0, 0, 0, 1]]), calibration["P2"]
    if find_not_rigid(Tr[None]) is not None:
        raise UserError(f"{folder / 'calib.txt'}: Tr is not a rotation and a translation")
    intrinsics = P2[:, :3]
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0 and (intrinsics[2] == [0, 0, 1]).all()):
        raise UserError(f"{folder / 'calib.txt'}: P2 is not K [I | t] with positive focal lengths")
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(intrinsics, P2[:, 3])
    poses = _numbers(folder / "poses.txt", 12).reshape(-1, 3, 4)
    times = _numbers(folder / "times.txt", 1)[:, 0]
    last = max(scans)
    if len(poses) <= last or len(times) <= last:
        raise UserError(
            f"{folder}: scan {scans[last].name}, but {len(poses)} poses and {len(times)} times; "
            "copy them again"
        )
    camera_poses = np.tile(np.eye(4), (len(poses), 1, 1))
    camera_poses[:, :3] = poses
    if (wrong := find_not_rigid(camera_poses)) is not None:
        raise UserError(f"{folder / 'poses.txt'}: line {wrong + 1} is not a rotation and a translation")
    world = invert_rigid(Tr[None])[0] @ camera_poses @ Tr
    width, height = _image_size(folder / CAMERA)
    frames = []
    for index, (number, scan) in enumerate(scans.items()):
        time = round(times[number] * 1e6)
        base = f"sequences/{sequence}"
        labels = f"{base}/labels/{scan.stem}.label"
        truth = labels if (root / labels).is_file() else None
        camera = Camera(
            name=CAMERA,
            image_path=f"{base}/{CAMERA}/{scan.stem}.png",
            width=width,
            height=height,
            intrinsics=intrinsics,
            camera_from_lidar=shift @ Tr,
            timestamp_us=time,
        )
        frames.append(
            Frame(
                frame_id=f"{sequence}_{scan.stem}",
                scene_id=sequence,
                index=index,
                timestamp_us=time,
                lidar_path=f"{base}/velodyne/{scan.name}",
                lidar_layout="kitti",
                global_from_lidar=world[number],
                cameras=(camera,),
                label_path=truth,
                panoptic_path=truth,
            )
        )
    return frames


def _calibration(path: Path) -> dict[str, NDArray[np.float64]]:
    found = _calibration_lines(path).items()
    out = {key: numbers.reshape(3, 4) for key, numbers in found if numbers.size == 12}
    if missing := {"P2", "Tr"} - out.keys():
        raise UserError(f"{path}: no {', '.join(sorted(missing))} with 12 numbers; copy it from the data set")
    return out


def _calibration_lines(path: Path) -> dict[str, NDArray[np.float64]]:
    """{key: its finite numbers}."""
    out = {}
    for line in _lines(path):
        key, sign, values = line.partition(":")
        try:
            numbers = np.array(values.split(), np.float64)
        except ValueError:
            continue  # such as calib_time
        if sign and np.isfinite(numbers).all():
            out[key.strip()] = numbers
    return out


def _unread(path: Path) -> list[str]:
    """A sentence for each line about distortion and rectification, which are not those of odometry."""
    return [
        f"{path}: {key} is not read: P2 and Tr must be those of rectified images, as in the odometry data set"
        for key, numbers in _calibration_lines(path).items()
        if (key.startswith("D") and numbers.any())
        or (key.startswith("R") and numbers.size == 9 and not np.allclose(numbers, np.eye(3).ravel()))
    ]


def _numbers(path: Path, columns: int) -> NDArray[np.float64]:
    lines = _lines(path)
    try:
        values = np.array([line.split() for line in lines], np.float64).reshape(len(lines), -1)
    except ValueError:
        values = np.zeros((1, 0))
    if values.shape[1] != columns or not np.isfinite(values).all():
        raise UserError(f"{path}: {columns} numbers are expected in each line; copy it from the data set")
    return values


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; copy it from the data set") from error


def _numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """{number: file} of those whose name is a number, in their order.

    Raises:
        UserError: two names are the same number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        if not re.fullmatch("[0-9]+", path.stem):
            continue
        if (other := found.setdefault(int(path.stem), path)) is not path:
            raise UserError(f"{folder}: {other.name} and {path.name} are the same scan; remove one")
    return dict(sorted(found.items()))


def _lost(folder: Path) -> list[str]:
    """Scans that are there under a wrong name alone, such as ``000005 (1).bin`` without ``000005.bin``."""
    there = _numbered(folder, ".bin")
    lost = [
        path.name
        for path in sorted(folder.glob("[!.]*.bin"))
        if (found := re.match("[0-9]+", path.stem)) and int(found[0]) not in there
    ]
    if not lost:
        return []
    many = f" and {len(lost) - 1} more" if lost[1:] else ""
    return [f"{folder}: {lost[0]}{many} is not a scan's name, and no other file is that scan; rename it"]


def _image_size(folder: Path) -> tuple[int, int]:
    """Of the sequence's first image that can be read; all have one size."""
    problem = ""
    for path in _numbered(folder, ".png").values():
        try:
            with Image.open(path, formats=["PNG"]) as image:
                return image.size
        except Exception as error:  # on broken bytes Pillow raises whatever it comes upon
            problem = problem or f"cannot read {path}: {' '.join(str(error).split())[:200]}"
    raise UserError(
        problem
        or f"{folder} holds no images (000000.png and so on); extract the odometry data set's colour images"
    )
