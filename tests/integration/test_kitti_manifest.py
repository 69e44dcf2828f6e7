"""A real KITTI frame through the door for one's own data: calibration with P2's fourth column, pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from labelgen.core.frame import Camera, Frame
from labelgen.datasets import DatasetInfo, load_cloud, load_image, plan_frames, write_frames


def test_pixels_are_those_of_the_reference(kitti_frame, tmp_path):
    lines = (kitti_frame / "sequences/08/calib.txt").read_text().splitlines()
    calib = {
        key: np.array(values.split(), float).reshape(3, 4) for key, values in (s.split(":") for s in lines)
    }
    with Image.open(kitti_frame / "sequences/08/image_2/000000.png") as image:
        width, height = image.size
    intrinsics = calib["P2"][:, :3]
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(intrinsics, calib["P2"][:, 3])
    camera = Camera(
        name="image_2",
        image_path="sequences/08/image_2/000000.png",
        width=width,
        height=height,
        intrinsics=intrinsics,
        camera_from_lidar=shift @ np.vstack([calib["Tr"], [0, 0, 0, 1]]),
        timestamp_us=0,
    )
    frame = Frame(
        frame_id="08_000000",
        scene_id="08",
        index=0,
        timestamp_us=0,
        lidar_path="sequences/08/velodyne/000000.bin",
        lidar_layout="kitti",
        global_from_lidar=np.eye(4),
        cameras=(camera,),
    )
    path = tmp_path / "frames.parquet"
    write_frames(path, [frame], DatasetInfo("kitti", dataroot=str(kitti_frame)))
    (found,), info = plan_frames("manifest", path)
    assert info.missing_files == 0

    cloud, _ = load_cloud(kitti_frame, found)
    assert len(cloud) == 17238
    assert cloud.ring is None
    assert load_image(kitti_frame, found.cameras[0], found.frame_id)[0].shape == (height, width, 3)
    transform = found.cameras[0].camera_from_lidar
    point = cloud.xyz.astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]
    uv = (point @ found.cameras[0].intrinsics.T)[:, :2] / point[:, 2:]
    with np.load(kitti_frame / "reference" / "image_2.npz") as reference:
        np.testing.assert_allclose(uv, reference["uv"], atol=1e-3)
