"""Frames of cameras with a given lens and mount, as checks of calibrations look at them."""

from pathlib import Path

import numpy as np

from labelgen.core.frame import Camera, Frame
from labelgen.datasets.checks import PlanInput, check_plan
from labelgen.datasets.info import DatasetInfo

TIME = 1_700_000_000_000_000


def intrinsics(fx, fy, cx, cy):
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def mounted(yaw=0.0, pitch=0.0, roll=0.0, at=(0, 0, 0)):
    """``camera_from_lidar`` of a camera somewhere (x ahead, y left, z up), in degrees to the left and up."""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0])
    down = np.cross(ahead, right)
    rotation = np.array(
        [np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right, ahead]
    )
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ np.asarray(at, float)
    return pose


def camera(K=None, size=(1600, 900), pose=None, name="front", distortion=None, time=TIME, path=None):
    K = intrinsics(size[0], size[0], size[0] / 2 - 0.5, size[1] / 2 - 0.5) if K is None else K
    pose = mounted() if pose is None else pose
    return Camera(name, path or f"i/{name}.png", *size, np.asarray(K, float), pose, time, distortion)


def frame(cameras, number=0, scene="s", time=None, pose=None, **more):
    time = TIME + 100_000 * number if time is None else time
    pose = np.eye(4) if pose is None else pose
    values = {"frame_id": f"f{number}", "lidar_path": f"l/{number}.bin", "lidar_layout": "kitti", **more}
    return Frame(
        scene_id=scene,
        index=number,
        timestamp_us=time,
        global_from_lidar=pose,
        cameras=tuple(cameras),
        **values,
    )


def found(*frames, root=Path("/nowhere"), sample=0, **info):
    """{check: its texts} of a plan of these frames."""
    out = {}
    for finding in check_plan(PlanInput(Path(root), frames, DatasetInfo(**info), sample=sample)):
        out.setdefault(finding.check, []).append(str(finding))
    return out
