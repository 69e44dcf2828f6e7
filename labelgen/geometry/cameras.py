"""The cameras of one frame as the arrays that the kernels read, distortion included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera


class Rig(NamedTuple):
    """C cameras, stacked.

    Attributes:
        pinhole: (C, 3, 4) float64, takes points in the LiDAR frame to (u z, v z, z).
        pose: (C, 3, 4) float64, takes points in the LiDAR frame to the camera frame.
        lens: (C, 12) float64, OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4; zeros for a pinhole.
        image_from_lens: (C, 3, 3) float64, takes what the lens gives (normalised, homogeneous) to pixels;
            the tilt of the sensor (OpenCV's tau) is inside.
        limit: (C,) float64, squared normalised radius from which the lens folds back; infinite for none.
        distorted: (C,) bool.
        size: (C, 2) float64, width and height in pixels.
    """

    pinhole: NDArray[np.float64]
    pose: NDArray[np.float64]
    lens: NDArray[np.float64]
    image_from_lens: NDArray[np.float64]
    limit: NDArray[np.float64]
    distorted: NDArray[np.bool_]
    size: NDArray[np.float64]


def stack(cameras: Sequence[Camera]) -> Rig:
    """Stack the cameras of a frame.

    Raises:
        ValueError: if intrinsics are not those of a camera or a distortion vector has an unknown length.
    """
    C = len(cameras)
    rig = Rig(
        pinhole=np.empty((C, 3, 4)),
        pose=np.empty((C, 3, 4)),
        lens=np.zeros((C, 12)),
        image_from_lens=np.empty((C, 3, 3)),
        limit=np.full(C, np.inf),
        distorted=np.zeros(C, np.bool_),
        size=np.empty((C, 2)),
    )
    for c, camera in enumerate(cameras):
        K = camera.intrinsics
        if not (K[0, 0] > 0 and K[1, 1] > 0 and K[2, 0] == 0 and K[2, 1] == 0 and K[2, 2] == 1):
            raise ValueError(
                f"camera {camera.name}: intrinsics need positive focal lengths and a last row of 0 0 1"
            )
        pose = camera.camera_from_lidar[:3]
        rig.pose[c] = pose
        rig.pinhole[c] = K @ pose
        rig.image_from_lens[c] = K
        rig.size[c] = camera.width, camera.height
        if camera.distortion is not None and np.any(camera.distortion):
            _add_distortion(rig, c, camera.name, np.asarray(camera.distortion, np.float64))
    return rig


def _add_distortion(rig: Rig, c: int, name: str, given: NDArray[np.float64]) -> None:
    if given.ndim != 1 or len(given) not in (4, 5, 8, 12, 14) or not np.isfinite(given).all():
        raise ValueError(
            f"camera {name}: distortion must be 4, 5, 8, 12 or 14 finite numbers in OpenCV's order, "
            f"got {given.tolist()}"
        )
    coefficients = np.zeros(14)
    coefficients[: len(given)] = given
    rig.distorted[c] = True
    rig.lens[c] = coefficients[:12]
    rig.limit[c] = fold_over(coefficients[:12])
    if coefficients[12:].any():
        rig.image_from_lens[c] = rig.image_from_lens[c] @ _tilt(*coefficients[12:])


def fold_over(lens: NDArray[np.float64]) -> float:
    """Squared normalised radius at which a lens model stops to be one-to-one.

    The radial part r (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶) grows with r near the
    axis. Fitted polynomials turn round somewhere outside the field of view; from there on, points that
    the camera cannot see would be drawn back into the image. Found as the first root of the derivative or
    of the denominator in s = r²; the tangential and prism terms are too small to move it.

    Args:
        lens: (12,) OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4.

    Returns:
        The limit of r², infinite if there is none.
    """
    k1, k2, _, _, k3, k4, k5, k6 = lens[:8]
    above, below = np.array([1, k1, k2, k3]), np.array([1, k4, k5, k6])  # by ascending powers of s
    power = np.arange(4)
    slope = np.convolve((1 + 2 * power) * above, below) - np.convolve(above, 2 * power * below)
    slope[np.abs(slope) < 1e-15], below[np.abs(below) < 1e-15] = (
        0,
        0,
    )  # would overflow in the companion matrix
    roots = np.concatenate([np.roots(slope[::-1]), np.roots(below[::-1])])
    real = roots.real[np.abs(roots.imag) <= 1e-9 * np.maximum(1, np.abs(roots))]
    return float(min(real[real > 0], default=np.inf))


def _tilt(tau_x: float, tau_y: float) -> NDArray[np.float64]:
    """Homography of a sensor that is tilted against the lens (OpenCV, calib3d, "tilted sensor model")."""
    cx, sx, cy, sy = np.cos(tau_x), np.sin(tau_x), np.cos(tau_y), np.sin(tau_y)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    R = about_y @ about_x
    return np.array([[R[2, 2], 0, -R[0, 2]], [0, R[2, 2], -R[1, 2]], [0, 0, 1]]) @ R
