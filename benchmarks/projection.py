"""Points to pixels, beside nuscenes-devkit's own projection, on one core.

Claim ``projection``: all points into all six cameras, against the devkit's steps for the same six cameras.

Both sides start from arrays in memory: no file is read and no image is opened. The devkit's side is the
body of ``NuScenesExplorer.map_pointcloud_to_image`` between loading and drawing, with its own classes. The
frame is the real keyframe where there is one, else a made one of the same size.

Each side runs in a process of its own, since the devkit's time hangs on the memory allocator: its steps
make some thirty temporary arrays of about 1 MB a camera. Left alone, glibc returns each to the system and
has its pages faulted in again. In a process that has freed a larger block before, it keeps them, and the
steps are about three times as fast: that time is reported beside the claim.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import harness
import numpy as np
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import view_points
from pyquaternion import Quaternion

# Our side is imported where it is used: the devkit's process must not load what the devkit does not.
if TYPE_CHECKING:
    from labelgen.core.frame import Frame, PointCloud

ROOT = Path(__file__).resolve().parent.parent
CHANNELS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
SIZE = (1600, 900)


def keyframe_records() -> tuple[np.ndarray, dict, list[dict]] | None:
    """Points (N, 4) and the devkit's calibration and pose records of the real keyframe, if it is there."""
    shared = Path(os.environ.get("LABELGEN_SHARED_DATA") or ROOT.parent / "shared" / "data")
    root = shared / "nuscenes-keyframe"
    if not root.is_dir():
        return None
    from nuscenes import NuScenes

    devkit = NuScenes("v1.0-mini", str(root), verbose=False)

    def sensor(channel: str) -> dict:
        data = devkit.get("sample_data", devkit.sample[0]["data"][channel])
        calibrated = devkit.get("calibrated_sensor", data["calibrated_sensor_token"])
        return {
            "sensor": calibrated,
            "ego": devkit.get("ego_pose", data["ego_pose_token"]),
            "file": data["filename"],
        }

    lidar = sensor("LIDAR_TOP")
    points = LidarPointCloud.from_file(str(root / lidar["file"])).points
    return np.ascontiguousarray(points.T), lidar, [sensor(channel) for channel in CHANNELS]


def made_records() -> tuple[np.ndarray, dict, list[dict]]:
    """A frame of nuScenes' size: 32 beams by 1084 firings on flat ground and a round wall."""
    from labelgen.demo.world import rig

    azimuth, elevation = np.meshgrid(
        np.linspace(0, 2 * np.pi, rig.AZIMUTH_STEPS, endpoint=False),
        np.radians(rig.ELEVATIONS_DEG),
        indexing="ij",
    )
    wall = 15 + 5 * np.sin(5 * azimuth)
    with np.errstate(divide="ignore"):
        reach = np.where(elevation < 0, np.minimum(-1.84 / np.tan(elevation), wall), wall)
    x, y, z = reach * np.sin(azimuth), reach * np.cos(azimuth), reach * np.tan(elevation)
    points = np.stack([x, y, z, np.zeros_like(x)], -1).reshape(-1, 4).astype(np.float32)
    ego = {"translation": [600.0, 1600.0, 0.0], "rotation": [0.6, 0.0, 0.0, 0.8]}

    def sensor(s: rig.Sensor) -> dict:
        calibrated = {
            "translation": s.translation,
            "rotation": s.rotation,
            "camera_intrinsic": s.intrinsics(SIZE),
        }
        return {"sensor": calibrated, "ego": ego}

    return points, sensor(rig.LIDAR), [sensor(camera) for camera in rig.CAMERAS]


def devkit_steps(points: np.ndarray, lidar: dict, camera: dict) -> tuple[np.ndarray, np.ndarray]:
    """What ``map_pointcloud_to_image`` does between loading and drawing: pixels (3, n) and depths (n,)."""
    pc = LidarPointCloud(points.copy())
    pc.rotate(Quaternion(lidar["sensor"]["rotation"]).rotation_matrix)
    pc.translate(np.array(lidar["sensor"]["translation"]))
    pc.rotate(Quaternion(lidar["ego"]["rotation"]).rotation_matrix)
    pc.translate(np.array(lidar["ego"]["translation"]))
    pc.translate(-np.array(camera["ego"]["translation"]))
    pc.rotate(Quaternion(camera["ego"]["rotation"]).rotation_matrix.T)
    pc.translate(-np.array(camera["sensor"]["translation"]))
    pc.rotate(Quaternion(camera["sensor"]["rotation"]).rotation_matrix.T)
    depths = pc.points[2, :]
    pixels = view_points(pc.points[:3, :], np.array(camera["sensor"]["camera_intrinsic"]), normalize=True)
    mask = np.ones(depths.shape[0], dtype=bool)
    mask = np.logical_and(mask, depths > 1.0)
    mask = np.logical_and(mask, pixels[0, :] > 1)
    mask = np.logical_and(mask, pixels[0, :] < SIZE[0] - 1)
    mask = np.logical_and(mask, pixels[1, :] > 1)
    mask = np.logical_and(mask, pixels[1, :] < SIZE[1] - 1)
    return pixels[:, mask], depths[mask]


def as_frame(lidar: dict, cameras: list[dict]) -> Frame:
    """The same calibration as ours."""
    from labelgen.core.frame import Camera, Frame

    def pose(record: dict) -> np.ndarray:
        out = np.eye(4)
        out[:3, :3] = Quaternion(record["rotation"]).rotation_matrix
        out[:3, 3] = record["translation"]
        return out

    global_from_lidar = pose(lidar["ego"]) @ pose(lidar["sensor"])
    made = []
    for name, camera in zip(CHANNELS, cameras, strict=True):
        camera_from_lidar = np.linalg.inv(pose(camera["ego"]) @ pose(camera["sensor"])) @ global_from_lidar
        K = np.array(camera["sensor"]["camera_intrinsic"], np.float64)
        made.append(Camera(name, "", *SIZE, K, camera_from_lidar, 0))
    return Frame("frame", "scene", 0, 0, "", "nuscenes", global_from_lidar, tuple(made))


def agreement(frame: Frame, cloud: PointCloud, points: np.ndarray, lidar: dict, cameras: list[dict]) -> dict:
    """Kept sets and pixels beside the devkit's."""
    from labelgen.geometry import project_points

    ours = project_points(cloud.xyz, frame.cameras)
    # A fourth column that survives the devkit's steps tells which point is which.
    tagged = points.T.copy()
    worst, equal = 0.0, True
    for c, camera in enumerate(cameras):
        pixels, depths = devkit_steps(tagged, lidar, camera)
        mine = ours.camera == c
        equal &= int(mine.sum()) == len(depths)
        if equal:
            worst = max(worst, float(np.abs(pixels[:2].T - ours.uv[mine]).max()))
            equal &= bool(np.abs(depths - ours.depth[mine]).max() < 0.01)
    return {"kept_sets_equal": equal, "max_pixel_difference": worst}


def records() -> tuple[np.ndarray, dict, list[dict]]:
    """Points (N, 4), the LiDAR's records and the cameras'."""
    return keyframe_records() or made_records()


def our_frame() -> tuple[Frame, PointCloud]:
    """The same for our side."""
    from labelgen.core.frame import PointCloud

    points, lidar, cameras = records()
    cloud = PointCloud(np.ascontiguousarray(points[:, :3]), np.ascontiguousarray(points[:, 3]))
    return as_frame(lidar, cameras), cloud


def devkit() -> Callable[[], object]:
    points, lidar, cameras = records()
    columns = np.ascontiguousarray(points.T)
    return lambda: [devkit_steps(columns, lidar, camera) for camera in cameras]


def devkit_warm() -> Callable[[], object]:
    np.ones(2**21)  # freed at once: from now on glibc keeps freed memory up to this size
    return devkit()


def projection() -> Callable[[], object]:
    from labelgen.geometry import project_points

    frame, cloud = our_frame()
    return lambda: project_points(cloud.xyz, frame.cameras)


def run(quick: bool) -> list[harness.Claim]:
    """Time everything in turn, each in a process of its own."""
    times = harness.interleave_processes(
        {f.__name__: f for f in (devkit, devkit_warm, projection)},
        seconds=10 if quick else 60,
        min_rounds=20,
        turn=0.02,
        cpu_time=True,
    )
    both = agreement(*our_frame(), *records())
    valid = both["kept_sets_equal"] and both["max_pixel_difference"] < 0.04  # the devkit computes in float32
    both["devkit_ms_if_allocator_keeps_memory"] = median(times["devkit_warm"]) * 1e3
    return [
        harness.faster(
            "projection", times["projection"], times["devkit"], goal=80, agreement=both, valid=valid
        ),
    ]


if __name__ == "__main__":
    harness.main("projection", __doc__, run)
