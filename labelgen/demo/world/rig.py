"""The sensor rig: six cameras and a 32-beam LiDAR placed as on the nuScenes cars.

Extrinsics are ``ego_from_sensor`` (nuScenes' calibrated_sensor), rounded to millimetres and to 1e-4 of a
quaternion. Ego frame: x forward, y left, z up, origin on the ground under the rear axle. LiDAR frame:
x right, y forward, z up. Camera frame: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Size for which the focal lengths below hold.
NATIVE_SIZE = (1600, 900)
KEYFRAME_SECONDS = 0.5
SWEEP_SECONDS = 0.05

#: Elevation of the 32 beams in degrees, ring 0 first (Velodyne HDL-32E).
ELEVATIONS_DEG = np.round(np.linspace(-30.67, 10.67, 32), 3)
#: Firings in a revolution; the beam starts at the left of the car and turns clockwise seen from above.
AZIMUTH_STEPS = 1084
START_AZIMUTH_DEG = 180.0
LIDAR_NAME = "LIDAR_TOP"


@dataclass(frozen=True)
class Sensor:
    """A sensor's place on the car.

    Attributes:
        name: nuScenes' channel.
        translation: (3,) metres, in the ego frame.
        rotation: (4,) unit quaternion w, x, y, z.
        focal, centre: pinhole parameters at `NATIVE_SIZE`; zero for the LiDAR.
        sweep_fraction: part of the revolution after which the beam passes the camera's axis.
    """

    name: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    focal: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    sweep_fraction: float = 1.0

    @property
    def ego_from_sensor(self) -> FloatArray:
        """(4, 4) float64."""
        pose = np.eye(4)
        pose[:3, :3] = quaternion_matrix(np.asarray(self.rotation))
        pose[:3, 3] = self.translation
        return pose

    def intrinsics(self, image_size: tuple[int, int]) -> FloatArray:
        """(3, 3) float64 pinhole matrix for images of (width, height) pixels."""
        sx, sy = image_size[0] / NATIVE_SIZE[0], image_size[1] / NATIVE_SIZE[1]
        cx, cy = (self.centre[0] + 0.5) * sx - 0.5, (self.centre[1] + 0.5) * sy - 0.5
        return np.array([[self.focal * sx, 0.0, cx], [0.0, self.focal * sy, cy], [0.0, 0.0, 1.0]])


def quaternion_matrix(q: FloatArray) -> FloatArray:
    """(3, 3) rotation of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def euler_quaternion(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> FloatArray:
    """(4,) unit quaternion (w, x, y, z) of Rz(yaw) Ry(pitch) Rx(roll)."""
    cy, sy = np.cos(yaw / 2), np.sin(yaw / 2)
    cp, sp = np.cos(pitch / 2), np.sin(pitch / 2)
    cr, sr = np.cos(roll / 2), np.sin(roll / 2)
    q = np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )
    unit: FloatArray = q / np.linalg.norm(q)
    return unit


def pose_matrix(translation: FloatArray, rotation: FloatArray) -> FloatArray:
    """(4, 4) transform from a translation (3,) and a unit quaternion (4,)."""
    pose = np.eye(4)
    pose[:3, :3] = quaternion_matrix(rotation)
    pose[:3, 3] = translation
    return pose


def rigid_inverse(pose: FloatArray) -> FloatArray:
    """Inverse of a (4, 4) rigid transform."""
    out = np.eye(4)
    out[:3, :3] = pose[:3, :3].T
    out[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return out


def _unit(*q: float) -> tuple[float, float, float, float]:
    rounded = np.round(q, 4)
    w, x, y, z = (float(v) for v in rounded / np.linalg.norm(rounded))
    return w, x, y, z


LIDAR = Sensor(LIDAR_NAME, (0.944, 0.0, 1.840), _unit(0.7078, -0.0065, 0.0106, -0.7063))


def _camera(
    name: str,
    translation: tuple[float, float, float],
    rotation: tuple[float, float, float, float],
    focal: float,
    centre: tuple[float, float],
) -> Sensor:
    sensor = Sensor(name, translation, _unit(*rotation), focal, centre)
    # The beam turns clockwise from the car's left (yaw 90 degrees); the camera fires when it passes the axis.
    axis = sensor.ego_from_sensor[:3, 2]
    yaw = np.degrees(np.arctan2(axis[1], axis[0]))
    return Sensor(name, translation, sensor.rotation, focal, centre, float(((90.0 - yaw) % 360.0) / 360.0))


#: In nuScenes' table order; a frame's cameras follow it.
CAMERAS: tuple[Sensor, ...] = (
    _camera(
        "CAM_FRONT", (1.701, 0.016, 1.511), (0.4998, -0.5030, 0.4998, -0.4974), 1266.417, (816.267, 491.507)
    ),
    _camera(
        "CAM_FRONT_RIGHT",
        (1.551, -0.493, 1.496),
        (0.2060, -0.2027, 0.6825, -0.6714),
        1260.847,
        (807.968, 495.334),
    ),
    _camera(
        "CAM_BACK_RIGHT",
        (1.015, -0.481, 1.562),
        (0.1228, -0.1324, -0.7004, 0.6905),
        1259.514,
        (807.253, 501.196),
    ),
    _camera(
        "CAM_BACK", (0.028, 0.003, 1.579), (0.5038, -0.4974, -0.4942, 0.5045), 809.221, (829.220, 481.778)
    ),
    _camera(
        "CAM_BACK_LEFT",
        (1.036, 0.485, 1.591),
        (0.6924, -0.7032, -0.1165, 0.1120),
        1256.741,
        (792.113, 492.776),
    ),
    _camera(
        "CAM_FRONT_LEFT",
        (1.524, 0.495, 1.509),
        (0.6757, -0.6736, 0.2121, -0.2112),
        1272.598,
        (826.615, 479.752),
    ),
)
CAMERA_NAMES: tuple[str, ...] = tuple(camera.name for camera in CAMERAS)


def camera_named(name: str) -> Sensor:
    """The camera of that channel.

    Raises:
        KeyError: no such camera.
    """
    for camera in CAMERAS:
        if camera.name == name:
            return camera
    raise KeyError(f"no camera {name!r}; choose from {', '.join(CAMERA_NAMES)}")
