"""One entry: what each camera sees of a point cloud."""

from __future__ import annotations

import numpy as np

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame, PointCloud
from labelgen.core.records import Views
from labelgen.geometry.occlusion import beam_spacing, depth_residual, is_visible
from labelgen.geometry.projection import project_points
from labelgen.geometry.settings import DEFAULT, ProjectionSettings


def project(frame: Frame, cloud: PointCloud, settings: ProjectionSettings = DEFAULT) -> Views:
    """Project a frame's points into its cameras and test which of them the cameras can see.

    Args:
        frame: with its cameras.
        cloud: N points, in the LiDAR frame; those that are no return project nowhere and hide nothing.
        settings: which points count as projecting into an image, and which of these as hidden.

    Returns:
        One row per (point, camera) pair, sorted by camera, then by point.

    Raises:
        FrameError: if a camera's intrinsics or distortion cannot be used.
    """
    xyz = cloud.xyz
    if not cloud.returned.all():
        xyz = np.where(cloud.returned[:, None], xyz, np.float32(np.nan))
    try:
        found = project_points(xyz, frame.cameras, settings)
    except ValueError as error:
        raise FrameError(str(error), frame_id=frame.frame_id) from None
    if settings.occlusion:
        residual = depth_residual(found, xyz, frame.cameras, beam_spacing(frame.lidar_layout))
    else:
        residual = np.zeros(len(found.point), np.float32)
    return Views(
        point=found.point,
        camera=found.camera,
        uv=found.uv,
        depth=found.depth,
        depth_residual=residual,
        visible=is_visible(residual, found.depth, settings),
    )
