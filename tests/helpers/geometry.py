"""Cameras, frames and masks for the tests of geometry and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelgen.core.frame import Camera, Frame, PointCloud
from labelgen.core.records import Regions, Views

#: The channels in nuScenes' order.
CHANNELS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")


def make_camera(
    width=100,
    height=80,
    focal=50.0,
    pose=None,
    name="cam",
    distortion=None,
    center=None,
) -> Camera:
    """A pinhole camera; by default its frame is the LiDAR frame."""
    cx, cy = center or ((width - 1) / 2, (height - 1) / 2)
    return Camera(
        name=name,
        image_path=f"{name}.jpg",
        width=width,
        height=height,
        intrinsics=np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]]),
        camera_from_lidar=np.eye(4) if pose is None else pose,
        timestamp_us=0,
        distortion=distortion,
    )


def make_frame(cameras) -> Frame:
    """A frame of these cameras."""
    return Frame("frame", "scene", 0, 0, "lidar.bin", "nuscenes", np.eye(4), tuple(cameras))


def make_cloud(xyz) -> PointCloud:
    """A cloud of these points."""
    xyz = np.asarray(xyz, np.float32).reshape(-1, 3)
    return PointCloud(xyz=xyz, intensity=np.zeros(len(xyz), np.float32))


def looking_forward(x=0.0, y=0.0, z=0.0, yaw=0.0) -> np.ndarray:
    """camera_from_lidar of a level camera at (x, y, z) in the LiDAR frame (x right, y forward, z up)."""
    c, s = np.cos(yaw), np.sin(yaw)
    right, forward = np.array([c, s, 0]), np.array([-s, c, 0])
    rotation = np.stack([right, [0, 0, -1.0], forward])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ [x, y, z]
    return pose


def keyframe(root: Path) -> tuple[Frame, PointCloud]:
    """The real nuScenes keyframe, from the matrices of its reference."""
    cameras = []
    for channel in CHANNELS:
        with np.load(root / "reference" / f"{channel}.npz", allow_pickle=False) as reference:
            width, height = (int(n) for n in reference["image_size"])
            cameras.append(
                Camera(channel, "", width, height, reference["K"], reference["lidar2cam_float64"], 0)
            )
    (path,) = (root / "samples" / "LIDAR_TOP").glob("*.pcd.bin")
    return make_frame(cameras), make_cloud(np.fromfile(path, np.float32).reshape(-1, 5)[:, :3])


def make_views(point, camera, uv, visible=None) -> Views:
    """Views with made-up depths."""
    V = len(point)
    return Views(
        point=np.asarray(point, np.int32),
        camera=np.asarray(camera, np.uint8),
        uv=np.asarray(uv, np.float32).reshape(V, 2),
        depth=np.full(V, 10, np.float32),
        depth_residual=np.zeros(V, np.float32),
        visible=np.ones(V, bool) if visible is None else np.asarray(visible, bool),
    )


def make_regions(camera, codes, area, score=None) -> Regions:
    """Regions of given run-length codes."""
    K = len(codes)
    return Regions(
        camera=np.asarray(camera, np.uint8),
        box_xyxy=np.zeros((K, 4), np.float32),
        area=np.asarray(area, np.int32),
        score=np.ones(K, np.float16) if score is None else np.asarray(score, np.float16),
        stability=np.ones(K, np.float16),
        rle=tuple(codes),
    )
