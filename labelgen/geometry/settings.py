"""How points are projected and tested for visibility."""

from __future__ import annotations

from pydantic import Field

from labelgen.core.settings import Settings


class ProjectionSettings(Settings):
    """Which points count as projecting into an image, and which of these as hidden."""

    min_depth: float = Field(
        1.0, ge=0, le=1000, description="metres along the camera's axis; nearer points are not projected"
    )
    border: float = Field(1.0, ge=0, le=10_000, description="pixels at the image's edge that do not count")
    occlusion: bool = Field(True, description="test whether a nearer surface hides the point")
    max_residual: float = Field(
        0.3, ge=0, le=1000, description="metres behind a surface from which a point is hidden"
    )
    max_residual_relative: float = Field(
        0.05, ge=0, le=10, description="the same as a share of the depth; the larger of the two holds"
    )


DEFAULT = ProjectionSettings()
