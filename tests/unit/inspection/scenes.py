"""Frames, records and cameras small enough to say by hand where everything must be drawn."""

from __future__ import annotations

import numpy as np

from labelgen.core.frame import Camera, Frame
from labelgen.core.records import (
    NO_CAMERA,
    NO_REGION,
    UNLABELLED,
    FrameRecord,
    FrameStatus,
    PointLabels,
    Reason,
    Regions,
    Semantics,
    Views,
)
from labelgen.geometry import rle

WIDTH, HEIGHT = 320, 180


def camera(name: str, yaw: float, width: int = WIDTH, height: int = HEIGHT, forward: str = "y") -> Camera:
    """A camera in the LiDAR's origin that looks ``yaw`` degrees to the left of the driving direction."""
    angle = np.radians(yaw + (90 if forward == "y" else 0))
    z = np.array([np.cos(angle), np.sin(angle), 0.0])
    y = np.array([0.0, 0.0, -1.0])
    transform = np.eye(4)
    transform[:3, :3] = np.stack([np.cross(y, z), y, z])
    intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])
    return Camera(name, f"samples/{name}/0.jpg", width, height, intrinsics, transform, 0)


def frame(cameras: tuple[Camera, ...] = (), **more) -> Frame:
    given = {"frame_id": "f0", "scene_id": "s0", "index": 3, "timestamp_us": 1_500_000_000_000_000}
    return Frame(
        **given | more,
        lidar_path="samples/LIDAR_TOP/0.pcd.bin",
        lidar_layout="nuscenes",
        global_from_lidar=np.eye(4),
        cameras=cameras,
    )


def labels(label: list[int], confidence: int = 200) -> PointLabels:
    label = np.array(label, np.uint8)
    n, known = len(label), label != UNLABELLED
    return PointLabels(
        label=label,
        confidence=np.where(known, confidence, 0).astype(np.uint8),
        margin=np.zeros(n, np.uint8),
        instance=np.zeros(n, np.uint16),
        region=np.full(n, NO_REGION, np.uint16),
        camera=np.full(n, NO_CAMERA, np.uint8),
        views=np.zeros(n, np.uint8),
        reason=np.where(known, Reason.LABELLED, Reason.NO_REGION).astype(np.uint8),
    )


def views(rows: list[tuple[int, int, float, float, float, bool]]) -> Views:
    """From (point, camera, u, v, depth, visible)."""
    columns = list(zip(*rows, strict=True)) or [()] * 6
    return Views(
        point=np.array(columns[0], np.int32),
        camera=np.array(columns[1], np.uint8),
        uv=np.array([columns[2], columns[3]], np.float32).T.reshape(-1, 2),
        depth=np.array(columns[4], np.float32),
        depth_residual=np.zeros(len(rows), np.float32),
        visible=np.array(columns[5], bool),
    )


def regions(masks: list[tuple[int, np.ndarray, int]]) -> tuple[Regions, Semantics]:
    """From (camera, mask, label)."""
    k = len(masks)
    return Regions(
        camera=np.array([m[0] for m in masks], np.uint8),
        box_xyxy=np.zeros((k, 4), np.float32),
        area=np.array([m[1].sum() for m in masks], np.int32),
        score=np.ones(k, np.float16),
        stability=np.ones(k, np.float16),
        rle=tuple(rle.encode(m[1]) for m in masks),
    ), Semantics(
        class_scores=np.zeros((k, 16), np.float16),
        label=np.array([m[2] for m in masks], np.uint8),
        feature=np.zeros((k, 4), np.float16),
    )


def record(point_labels: PointLabels, rows=(), masks=(), notes=(), status=FrameStatus.OK) -> FrameRecord:
    table = views(list(rows))
    region, semantics = regions(list(masks))
    return FrameRecord(
        frame_id="f0",
        scene_id="s0",
        timestamp_us=1_500_000_000_000_000,
        source_id="",
        status=status,
        notes=tuple(notes),
        source_hashes={},
        views=table,
        view_region=np.full(len(table), NO_REGION, np.uint16),
        regions=region,
        semantics=semantics,
        labels=point_labels,
    )
