"""Is each camera where cameras are, and upright, as seen from the LiDAR; and does the LiDAR stand upright?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Frame
from labelgen.datasets.checks.inputs import FrameInput, PlanInput
from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.transforms import Matrices

#: Metres between a camera and the LiDAR: farther is odd, and too far for any vehicle.
FAR, TOO_FAR = 8.0, 20.0
#: Cosine of the angle from which a camera is no longer upright: 60 degrees.
UPRIGHT = 0.5
#: Sine of the angle from which a camera is no longer level from side to side: 30 degrees.
LEVEL = 0.5
#: Another reading of a matrix is named where it puts the camera upright to this cosine.
SURELY = 0.8
_AXES = ("x", "y", "z")
#: From x ahead, y left, z up to x right, y down, z ahead; and from y up, z backward.
_OPTICAL = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
_FLIPPED = np.diag([1.0, -1, -1])


@check("camera-upright", "plan")
def upright(plan: PlanInput) -> Iterator[Odd]:
    """A camera's y, which points down, does not point down in the LiDAR's frame."""
    shots = plan.shots
    wrong = _askew(shots.pose, UPRIGHT, LEVEL)
    for name, rows in shots.by_name():
        if not (odd := rows[wrong[rows]]).size:
            continue
        frame = plan.frames[shots.frame[odd[0]]]
        up = shots.pose[odd[0], 1, 2]
        where = "points up" if up > UPRIGHT else "lies level" if up > -UPRIGHT else "leans to the side"
        angle = np.degrees(np.arccos(np.clip(-up, -1, 1)))
        more = f" and {odd.size - 1:,} more" if odd.size > 1 else ""
        yield Odd(
            f"camera {name}: camera_from_lidar is not upright: the camera's y, which points down, {where} "
            f"in the LiDAR's frame, {angle:.0f} degrees off (frame {frame.frame_id}{more})",
            _reading(plan, frame, name),
            name,
        )


@check("camera-far", "plan", refuse=True)
def too_far(plan: PlanInput) -> Iterator[Odd]:
    """A camera is farther from the LiDAR than any vehicle is long."""
    for name, frame, metres, more in _distances(plan, TOO_FAR, np.inf):
        if metres > 1000 * FAR:
            hint = "is it a pose in the world? It must map points from the LiDAR's frame to the camera's"
        else:
            hint = (
                f"is its last column in millimetres or centimetres? {metres / 1000:.3g} or "
                f"{metres / 100:.3g} m"
            )
        yield Odd(
            f"camera {name} is {metres:,.0f} m from the LiDAR according to its camera_from_lidar "
            f"({frame}{more})",
            hint,
            name,
        )


@check("camera-distant", "plan")
def distant(plan: PlanInput) -> Iterator[Odd]:
    """A camera is farther from the LiDAR than a car is long."""
    for name, frame, metres, more in _distances(plan, FAR, TOO_FAR):
        yield Odd(
            f"camera {name} is {metres:.1f} m from the LiDAR according to its camera_from_lidar "
            f"({frame}{more})",
            "correct only on a long vehicle; its last column must be in metres",
            name,
        )


@check("lidar-upright", "plan")
def lidar_upright(plan: PlanInput) -> Iterator[Odd]:
    """The LiDAR's z does not point up in a scene's global frame."""
    for name, scene in plan.scenes.items():
        up = np.array([frame.global_from_lidar[2, 2] for frame in scene])
        if np.median(up) < UPRIGHT:
            frame = scene[int(np.argmax(up < UPRIGHT))]
            z = frame.global_from_lidar[:3, 2]
            axis = int(np.argmax(np.abs(z)))
            yield Odd(
                f"scene {name}: the LiDAR's z is not up in the global frame, but along "
                f"{'-+'[int(z[axis] > 0)]}{_AXES[axis]} (frame {frame.frame_id})",
                "are the poses those of a camera, inverted, or their quaternions in the order x y z w?",
            )


def _distances(plan: PlanInput, low: float, high: float) -> Iterator[tuple[str, str, float, str]]:
    """Name, first frame, metres and how many more of each camera whose distance is within bounds."""
    metres = np.linalg.norm(plan.shots.pose[:, :3, 3], axis=1)
    wrong = (metres > low) & (metres <= high)
    for name, rows in plan.shots.by_name():
        if (odd := rows[wrong[rows]]).size:
            frame = plan.frames[plan.shots.frame[odd[0]]]
            more = f" and {odd.size - 1:,} more" if odd.size > 1 else ""
            yield name, f"frame {frame.frame_id}", float(metres[odd[0]]), more


def _reading(plan: PlanInput, frame: Frame, name: str) -> str:
    """How the rotations of a frame's cameras that are not upright would make sense."""
    rotations = np.array([camera.camera_from_lidar[:3, :3] for camera in frame.cameras])
    if (up := _common_up(rotations)) is not None:
        return f"is {up} up in the LiDAR's frame? z must be: turn the clouds and the matrices"
    wrong = rotations[_askew(rotations, UPRIGHT, LEVEL)]
    fit = [what for what, read in READINGS if not _askew(read(wrong), SURELY, LEVEL).any()]
    if fit[:1] == [READINGS[0][0]]:
        fit[0] += _in_view(plan, name)
    axes = "it must map to x right, y down, z ahead"
    return f"it would be upright if it were {', or '.join(fit[:2])}; {axes}" if fit else axes


def _askew(poses: Matrices, upright: float, level: float) -> NDArray[np.bool_]:
    """(n,) bool: cameras whose y does not point down, or whose x is not level, by cosine and sine."""
    return np.asarray((poses[:, 1, 2] > -upright) | (np.abs(poses[:, 0, 2]) > level))


def _inverse(rotations: Matrices) -> Matrices:
    return rotations.transpose(0, 2, 1)


def _wrong_order(rotations: Matrices, shift: int) -> Matrices:
    """What the quaternions would be whose numbers were read shifted."""
    from scipy.spatial.transform import Rotation  # only where something is odd already

    return np.asarray(
        Rotation.from_quat(np.roll(Rotation.from_matrix(rotations).as_quat(), shift, 1)).as_matrix()
    )


#: How rotations may have been meant that do not hold cameras upright, the likely ones first.
READINGS: tuple[tuple[str, Callable[[Matrices], Matrices]], ...] = (
    ("lidar_from_camera or its transpose", _inverse),
    ("of axes x ahead, y left, z up", lambda R: _OPTICAL @ R),
    ("of a camera or LiDAR upside down, or of y up and z backward (OpenGL)", lambda R: _FLIPPED @ R),
    ("a quaternion x y z w that was read as w x y z", lambda R: _wrong_order(R, 1)),
    ("a quaternion w x y z that was read as x y z w", lambda R: _wrong_order(R, -1)),
    ("lidar_from_camera of axes x ahead, y left, z up", lambda R: _OPTICAL @ _inverse(R)),
    ("lidar_from_camera of y up and z backward (OpenGL)", lambda R: _FLIPPED @ _inverse(R)),
    ("the inverse of a quaternion x y z w read as w x y z", lambda R: _inverse(_wrong_order(_inverse(R), 1))),
    (
        "the inverse of a quaternion w x y z read as x y z w",
        lambda R: _inverse(_wrong_order(_inverse(R), -1)),
    ),
)


def _common_up(rotations: Matrices) -> str | None:
    """The LiDAR's axis that is up for cameras that look to different sides, if it is not z."""
    ahead, down = rotations[:, 2], rotations[:, 1].mean(axis=0)
    axis = int(np.argmax(np.abs(down)))
    if (ahead @ ahead.T).min() > np.cos(np.pi / 4) or abs(down[axis]) < SURELY or axis == 2:
        return None
    return f"{'-' if down[axis] > 0 else ''}{_AXES[axis]}"


def _in_view(plan: PlanInput, name: str) -> str:
    """How many points a camera of a sampled frame sees with its matrix, and with the inverse."""
    for look in (one for one in plan.frame_inputs if isinstance(one, FrameInput)):
        for camera, rows in look.cameras():
            if camera.name == name:
                turned = replace(camera, camera_from_lidar=np.linalg.inv(camera.camera_from_lidar))
                from labelgen.geometry import project_points  # compiled: not for who asks for the names

                seen = project_points(look.cloud.xyz, [turned], plan.projection)
                return f" ({len(seen.point):,} points in view for {rows.stop - rows.start:,})"
    return ""
