"""A data set: folders of clouds and images, with one calibration for all.

ROOT/rig.json        {"cameras": {NAME: {"intrinsics": 3 x 3, "camera_from_lidar": 4 x 4}}}
ROOT/SCENE/poses.json  {FRAME: {"timestamp_us": int, "global_from_lidar": 4 x 4}}
ROOT/SCENE/FRAME.bin   packed float32 x, y, z, intensity
ROOT/SCENE/FRAME.NAME.jpg
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from labelgen.core.errors import UserError
from labelgen.core.frame import Camera, Frame
from labelgen.core.text_files import read_json
from labelgen.datasets import DatasetInfo
from labelgen.datasets.reader import Reader


def plan(dataroot: Path, version: str, split: str) -> tuple[list[Frame], DatasetInfo]:
    """Frames of the scenes that ``split`` names with commas, or of all."""
    if version:
        raise UserError(f"this data set has no versions; leave out version {version!r}")
    root = dataroot.absolute()
    rig = root / "rig.json"
    there = sorted(path.parent.name for path in root.glob("*/poses.json"))
    wanted = [name.strip() for name in split.split(",") if name.strip()] or there
    if not wanted or not set(wanted) <= set(there):
        raise UserError(f"{root}: no scene {', '.join(wanted) or 'at all'}; there are {', '.join(there)}")
    frames = []
    for scene in wanted:
        poses = root / scene / "poses.json"
        try:
            cameras = read_json(rig, "calibration")["cameras"]
            for index, (name, pose) in enumerate(sorted(read_json(poses, "list of poses").items())):
                frames.append(_frame(root, scene, index, name, pose, cameras))
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise UserError(f"{poses} and {rig} are not as this data set has them: {error!r}") from error
    info = DatasetInfo(split=split, dataroot=str(root), taxonomy="nuscenes16")
    return frames, info


def _frame(root: Path, scene: str, index: int, name: str, pose: dict, cameras: dict) -> Frame:
    time = int(pose["timestamp_us"])
    seen = []
    for camera, calibration in cameras.items():
        path = f"{scene}/{name}.{camera}.jpg"
        with Image.open(root / path) as image:  # reads the header alone
            width, height = image.size
        seen.append(
            Camera(
                name=camera,
                image_path=path,
                width=width,
                height=height,
                intrinsics=calibration["intrinsics"],
                camera_from_lidar=calibration["camera_from_lidar"],
                timestamp_us=time,
            )
        )
    return Frame(
        frame_id=f"{scene}_{name}",
        scene_id=scene,
        index=index,
        timestamp_us=time,
        lidar_path=f"{scene}/{name}.bin",
        lidar_layout="x:f4,y:f4,z:f4,intensity:f4",
        global_from_lidar=pose["global_from_lidar"],
        cameras=tuple(seen),
    )


RIG = Reader(about="DATAROOT with rig.json and SCENE/poses.json, .bin clouds and .jpg images", plan=plan)
