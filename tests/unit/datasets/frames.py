"""Frames without files behind them, for tests of manifests and plans, and what readers say of bad files."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from labelgen.core.errors import FrameError
from labelgen.core.frame import Camera, Frame


def rigid(rng: np.random.Generator, reach: float = 2000.0) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    out[:3, 3] = rng.uniform(-reach, reach, 3)
    return out


def make_camera(rng: np.random.Generator, name: str = "CAM_FRONT", distortion: int | None = None) -> Camera:
    f, cx, cy = rng.uniform(50, 2000, 3)
    return Camera(
        name=name,
        image_path=f"samples/{name}/{rng.integers(10**9)}.jpg",
        width=int(rng.integers(1, 4000)),
        height=int(rng.integers(1, 4000)),
        intrinsics=np.array([[f, 0.0, cx], [0.0, f * 1.01, cy], [0.0, 0.0, 1.0]]),
        camera_from_lidar=rigid(rng, 3.0),
        timestamp_us=int(rng.integers(2**60)),
        distortion=None if distortion is None else rng.normal(0, 0.1, distortion),
    )


def make_frame(rng: np.random.Generator, number: int = 0, cameras: tuple[Camera, ...] | None = None) -> Frame:
    return Frame(
        frame_id=f"frame-{number}",
        scene_id=f"scene-{number // 3}",
        index=number % 3,
        timestamp_us=1_500_000_000_000_000 + number,
        lidar_path=f"samples/LIDAR_TOP/{number}.pcd.bin",
        lidar_layout=("nuscenes", "kitti")[number % 2],
        global_from_lidar=rigid(rng),
        cameras=cameras if cameras is not None else (make_camera(rng), make_camera(rng, "CAM_BACK", 5)),
        label_path=None if number % 2 else f"lidarseg/{number}.bin",
        panoptic_path=None,
        source_id=f"source-{number}",
    )


def assert_equal_frames(left: Frame, right: Frame) -> None:
    for name in Frame.__dataclass_fields__:
        if name not in ("global_from_lidar", "cameras"):
            assert getattr(left, name) == getattr(right, name), name
    np.testing.assert_array_equal(left.global_from_lidar, right.global_from_lidar)
    assert len(left.cameras) == len(right.cameras)
    for one, other in zip(left.cameras, right.cameras, strict=True):
        for name in Camera.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def refused(call, *args, **kwargs) -> str:
    """The message of the error; it holds one line, the frame and the file."""
    with pytest.raises(FrameError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.frame_id in message
    assert caught.value.path in message
    return message
