"""What can be set of the way from regions to labels: votes, instances, and their fusion over time."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from labelgen.core.settings import ADDED, Settings

_Degrees = Annotated[float, Field(gt=0, le=360)]
_Spacings = Annotated[float, Field(gt=0, le=1000)]


class VoteSettings(Settings):
    """When votes are enough, and what a view's own evidence counts for.

    ``class_margin``, ``edge``, ``residual`` and ``angle`` say how much of a vote is lost: 0 for nothing, 1
    for all. See `labelgen.labels.evidence.hit_evidence`.
    """

    min_margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="lead over the second class that a label needs, a share of all votes",
    )
    class_margin: float = Field(1.0, ge=0, le=1, description="vote lost where a region's class is undecided")
    edge: float = Field(0.5, ge=0, le=1, description="vote lost at a mask's edge")
    edge_px: float = Field(8.0, ge=1, le=1000, description="pixels over which that fades")
    residual: float = Field(0.5, ge=0, le=1, description="vote lost at the depth test's limit")
    angle: float = Field(0.5, ge=0, le=1, description="vote lost 90 degrees off the camera's axis")

    @property
    def reach(self) -> float:
        """Pixels around a view that are looked at, for `labelgen.geometry.region_hits`."""
        return self.edge_px if self.edge else 0.0


class FusionSettings(Settings):
    """How evidence is gathered over the frames of a scene, and read back."""

    ahead: int = Field(20, ge=0, le=200, description="frames gathered beyond the one that is read")
    voxel: float = Field(
        0.25,
        gt=0.01,
        le=100,
        description="finest voxels of the map, metres; the finest that holds anything is read",
    )
    levels: Annotated[int, ADDED] = Field(
        2, ge=1, le=4, description="sizes of voxels, each three times the one before"
    )
    decay_s: float = Field(20.0, gt=0, le=10**6, description="seconds after which evidence counts 1 / e")
    min_margin: float = Field(
        0.02,
        ge=0,
        le=1,
        description="lead over the second class that a label needs, a share of all votes",
    )
    half_range: float = Field(
        50.0, gt=0, le=10**6, description="metres from the LiDAR at which evidence counts half"
    )
    own: float = Field(0.1, ge=0, le=1000, description="weight of a point's own evidence beside the map's")
    prior: float = Field(
        0.03, ge=0, le=1000, description="votes spread over all classes, which confidence must overcome"
    )
    least: float = Field(0.05, ge=0, le=1000, description="votes that a label needs in all")
    keep: float = Field(80.0, gt=0, le=10_000, description="metres beyond which the map forgets")
    most: int = Field(
        1_500_000, ge=1, le=10**9, description="voxels of each size that are kept at most; bounds the memory"
    )
    see_through: float = Field(
        20.0,
        ge=0,
        le=1000,
        description="metres from the LiDAR within which free space clears the map; 0: none",
    )
    margin: float = Field(
        0.8, ge=0, le=1000, description="metres by which a return must lie behind what is cleared"
    )
    bins_deg: tuple[_Degrees, _Degrees] = Field(
        (1.0, 2.0), description="width and height of the bins of free space, degrees"
    )

    @property
    def voxels(self) -> tuple[float, ...]:
        """Sides of the map's voxels, metres."""
        return tuple(3**level * self.voxel for level in range(self.levels))

    def covered(self) -> dict[str, Any]:
        """With the sides of the voxels, as runs have named them from the first."""
        found = super().covered() | {"voxels": list(self.voxels)}
        return {name: found[name] for name in found if name not in ("voxel", "levels")}


class InstanceSettings(Settings):
    """When two points belong to one thing."""

    spacing_deg: tuple[_Degrees, _Degrees] = Field(
        (360.0 / 1084, 41.34 / 31), description="horizontal and vertical angle between neighbouring beams"
    )
    reach: tuple[_Spacings, _Spacings] = Field(
        (3.5, 2.2), description="beam spacings, horizontal and vertical, over which points are neighbours"
    )
    gap: float = Field(
        0.4, ge=0, le=1000, description="metres between neighbours from which there is an edge between them"
    )
    gap_relative: float = Field(
        0.02, ge=0, le=10, description="the same as a share of the range, added to gap"
    )
    min_points: int = Field(5, ge=0, le=10**9, description="smaller things get no number")
    fragment: int = Field(
        20,
        ge=0,
        le=10**9,
        description="what has fewer points joins the nearest larger part of the same class and region",
    )
    fragment_gaps: float = Field(
        4.0,
        ge=0,
        le=10**6,
        description="if it is at most this many gaps away: surfaces that beams graze fall apart",
    )


class TrackSettings(Settings):
    """When an instance continues a track."""

    max_speed: float = Field(
        15.0, gt=0, le=1000, description="metres per second that something seen once may move"
    )
    max_change: float = Field(
        6.0, gt=0, le=1000, description="metres per second squared that a known speed may change"
    )
    slack: float = Field(
        1.0, ge=0, le=1000, description="metres that a centre may jump because another side is seen"
    )
    other_class: float = Field(
        2.0, ge=0, le=10**6, description="metres of distance that another class counts for"
    )
    max_gap_s: float = Field(
        1.5, gt=0, le=10**6, description="seconds after which a track that is not seen ends"
    )
    moving_speed: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="metres per second from which a thing moves, if it goes on so for two steps: same way, "
        "and neither half nor twice as fast; what is labelled now and then as a thing, and jumps, does not",
    )
    largest: float = Field(20.0, gt=0, le=1000, description="metres; a thing that is larger does not move")
