"""What a dataset gives: frames, their cameras and their point clouds.

Conventions, everywhere in this package: ``a_from_b`` is the 4x4 float64 transform that takes points
in b to a. Camera frame: x right, y down, z forward. Pixel (0, 0) is the centre of the top-left pixel.
Row i of every per-point array is the i-th point of the raw LiDAR file. Time is int64 microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.returns import returned

#: Layouts of LiDAR files that have a name: columns of float32 records.
LIDAR_LAYOUTS: dict[str, tuple[str, ...]] = {
    "nuscenes": ("x", "y", "z", "intensity", "ring"),
    "kitti": ("x", "y", "z", "intensity"),
}
_COLUMN = re.compile(r"([a-z_][a-z0-9_]*):([fiu][1248])")
_SPACING = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class LidarLayout:
    """How the records of a LiDAR file are laid out, and how densely the LiDAR's beams lie.

    Attributes:
        record: packed, little-endian; x, y, z in metres; intensity, ring and time (seconds from the frame's
            timestamp) are read where there are such columns, all others are passed over.
        spacing_deg: horizontal and vertical angle between neighbouring beams, where the layout says it.
    """

    record: np.dtype[Any]
    spacing_deg: tuple[float, float] | None = None


@lru_cache
def parse_layout(layout: str) -> LidarLayout:
    """Read a ``Frame.lidar_layout``: a key of `LIDAR_LAYOUTS`, or columns with numpy's types.

    ``x:f4,y:f4,z:f4,intensity:u1,ring:u2@0.2x1.33`` are records of 15 bytes, of a LiDAR whose beams are 0.2
    degrees apart to the side and 1.33 up and down.

    Raises:
        ValueError: neither.
    """
    if layout in LIDAR_LAYOUTS:
        return LidarLayout(np.dtype([(name, "<f4") for name in LIDAR_LAYOUTS[layout]]))
    columns, sign, spacing = layout.partition("@")
    fields = [_COLUMN.fullmatch(column.strip()) for column in columns.split(",")]
    angles = _SPACING.fullmatch(spacing.strip())
    try:
        if all(fields) and (angles or not sign):
            record = np.dtype([(field[1], f"<{field[2]}") for field in fields if field])
            degrees = (float(angles[1]), float(angles[2])) if angles else None
            if {"x", "y", "z"} <= set(record.names or ()) and (degrees is None or min(degrees) > 0):
                return LidarLayout(record, degrees)
    except (TypeError, ValueError):
        pass  # a type that does not exist, such as f1, or a column twice
    raise ValueError(
        f"{layout!r} is neither one of {sorted(LIDAR_LAYOUTS)} nor a list of columns such as "
        "x:f4,y:f4,z:f4,intensity:u1@0.2x0.4"
    )


@dataclass(frozen=True)
class Camera:
    """One camera image of a frame.

    Attributes:
        name: the dataset's name of the camera, e.g. ``CAM_FRONT``.
        image_path: relative to the data root.
        width, height: size of the image in pixels.
        intrinsics: (3, 3) float64, pinhole matrix in pixels.
        camera_from_lidar: (4, 4) float64; the ego motion between the LiDAR's and the camera's
            timestamps is already inside.
        timestamp_us: when the image was taken.
        distortion: None, or (4..14,) float64 coefficients in OpenCV's order.
    """

    name: str
    image_path: str
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    camera_from_lidar: NDArray[np.float64]
    timestamp_us: int
    distortion: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check_array(self, "intrinsics", (3, 3))
        _check_array(self, "camera_from_lidar", (4, 4))
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"camera {self.name}: size {self.width}x{self.height} is not positive")


@dataclass(frozen=True)
class Frame:
    """One LiDAR sweep with the cameras that were fired around it.

    Attributes:
        frame_id: unique in the run, at most 64 ASCII characters (nuScenes: the LiDAR sample_data token).
        scene_id: frames of one scene share a global coordinate frame and follow each other in time.
        index: position of the frame in its scene, from 0.
        timestamp_us: of the LiDAR sweep.
        lidar_path: relative to the data root.
        lidar_layout: see `parse_layout`.
        global_from_lidar: (4, 4) float64.
        cameras: in the dataset's order; a point's ``camera`` is an index into this tuple.
        label_path: truth, uint8 per point in the dataset's own ids; relative to the data root.
        panoptic_path: truth with instances; relative to the data root.
        source_id: identity of the sources (files by paths, sizes and times; calibration; pose); a frame
            whose sources changed is labelled anew.
    """

    frame_id: str
    scene_id: str
    index: int
    timestamp_us: int
    lidar_path: str
    lidar_layout: str
    global_from_lidar: NDArray[np.float64]
    cameras: tuple[Camera, ...]
    label_path: str | None = None
    panoptic_path: str | None = None
    source_id: str = ""

    def __post_init__(self) -> None:
        _check_array(self, "global_from_lidar", (4, 4))
        if not self.frame_id or len(self.frame_id) > 64 or not self.frame_id.isascii():
            raise ValueError(f"frame id {self.frame_id!r} must be 1 to 64 ASCII characters")
        try:
            parse_layout(self.lidar_layout)
        except ValueError as error:
            raise ValueError(f"frame {self.frame_id}: layout {error}") from None
        if len(self.cameras) > 254:
            raise ValueError(f"frame {self.frame_id}: {len(self.cameras)} cameras; the maximum is 254")


@dataclass(frozen=True)
class PointCloud:
    """Points of one sweep in the LiDAR frame, in the raw file's order, none dropped.

    Attributes:
        xyz: (N, 3) float32, metres. Points that are no return stay; they project nowhere.
        intensity: (N,) float32, as stored.
        ring: (N,) uint8 beam index, or None.
        time: (N,) float32 seconds relative to the frame's timestamp, or None.
    """

    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    ring: NDArray[np.uint8] | None = None
    time: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.xyz)

    @cached_property
    def returned(self) -> NDArray[np.bool_]:
        """(N,) bool, False for points that no beam came back from, see `labelgen.core.returns`."""
        return returned(self.xyz)


def _check_array(owner: object, name: str, shape: tuple[int, ...]) -> None:
    """Coerce a field of a frozen record to float64 and check its shape and finiteness."""
    array = np.ascontiguousarray(getattr(owner, name), dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{type(owner).__name__}.{name} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{type(owner).__name__}.{name} holds values that are not finite")
    object.__setattr__(owner, name, array)
