"""What can be set of the 3D networks, one class per network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from labelgen.core.settings import Settings

#: Cells of the largest plane; layers times the square of the width of the largest network.
MOST_CELLS, MOST_WEIGHTS = 1 << 24, 1 << 31
_Metres = Annotated[float, Field(ge=-10_000, le=10_000)]


class BackboneSettings(Settings):
    """Base of a backbone's settings."""


class MinkUNetSettings(BackboneSettings):
    """Voxels are those of SLidR: cylindrical, 0.1 m, 1 degree, 0.1 m."""

    cylindrical: bool = Field(
        True, description="grid over radius, azimuth and height; otherwise over x, y, z"
    )
    voxel: float = Field(
        0.1, gt=0, le=100, description="metres: side of a voxel in radius and height, or in x, y, z"
    )
    degrees: float = Field(1.0, gt=0, le=180, description="of azimuth")


class WaffleIronSettings(BackboneSettings):
    """Size and grid; the defaults are those of ScaLR (Puy et al., CVPR 2024)."""

    layers: int = Field(
        48, ge=1, le=1024, description="number of layers, which mix tokens and channels in turn"
    )
    width: int = Field(768, ge=1, le=16_384, description="width of a point's features")
    neighbours: int = Field(16, ge=1, le=1024, description="neighbours of each point in the embedding")
    low: tuple[_Metres, _Metres, _Metres] = Field(
        (-64.0, -64.0, -8.0), description="corner of the grid, metres"
    )
    high: tuple[_Metres, _Metres, _Metres] = Field(
        (64.0, 64.0, 8.0), description="the opposite corner, metres"
    )
    cell: float = Field(0.5, gt=0, le=1000, description="side of a cell, metres")
    norm: Literal["layer", "batch"] = Field("layer", description="layer: ScaLR, batch: as first published")
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability that a frame skips a residual branch")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sides = [(high - low) / self.cell for low, high in zip(self.low, self.high, strict=True)]
        if min(sides) <= 0:
            raise ValueError("low must be below high")
        if max(sides) * sorted(sides)[1] > MOST_CELLS:
            raise ValueError(
                f"more than {MOST_CELLS:,} cells in a plane; give a larger cell or a smaller grid"
            )
        if self.layers * self.width**2 > MOST_WEIGHTS:
            raise ValueError(f"layers times the square of width is more than {MOST_WEIGHTS:,}")
        return self
