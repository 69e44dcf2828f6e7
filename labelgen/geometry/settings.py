"""How points are projected and tested for visibility."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProjectionSettings:
    """Which points count as projecting into an image, and which of these as hidden.

    Attributes:
        min_depth: metres along the camera's axis that a point must exceed.
        border: pixels at the image's edges that do not count: border < u < width - border, and likewise v.
        occlusion: whether to test for nearer surfaces at all.
        max_residual: metres behind the nearest surface from which a point is hidden.
        max_residual_relative: the same as a share of the point's depth; the larger of the two holds.
    """

    min_depth: float = 1.0
    border: float = 1.0
    occlusion: bool = True
    max_residual: float = 0.3
    max_residual_relative: float = 0.05


DEFAULT = ProjectionSettings()
