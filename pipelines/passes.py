"""The operations of pass 2 as thin callables over the library; see `pipelines.derive.Operation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from labelgen.errors import FrameError
from labelgen.geometry import ProjectionSettings
from labelgen.labels import VoteSettings
from labelgen.labels.afi import AfiSettings, refine_labels
from labelgen.labels.revote import Ballot
from labelgen.records import Failure
from labelgen.taxonomy import Taxonomy
from pipelines.derive import Derived, failure
from pipelines.scenes import SceneFrame


@dataclass(frozen=True)
class Revote:
    """Vote anew with other thresholds and weights.

    Attributes:
        vote: settings of the vote.
        projection: the depth test's tolerance.
        keep_visible: whether that is the tolerance of the stored run.
    """

    vote: VoteSettings
    projection: ProjectionSettings
    keep_visible: bool
    name: str = "revote"

    @property
    def stored(self) -> tuple[str, ...]:
        """Labels, and the depth test's answer where it is asked anew."""
        return ("points",) if self.keep_visible else ("points", "views/visible")

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {"labels": asdict(self.vote), "projection": asdict(self.projection)}

    def __call__(self, scene: Iterator[SceneFrame], taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        for one in scene:
            try:
                ballot = Ballot(one.record, one.frame.cameras, self.vote, self.projection, self.keep_visible)
                visible = None if self.keep_visible else ballot.views.visible
                yield Derived(one.frame.frame_id, ballot.labels(), visible)
            except (ValueError, FrameError) as error:
                yield failure(one.stored.entry, self.name, error)


@dataclass(frozen=True)
class RefineFlat:
    """Smooth the labels of each scan along flat structures.

    Attributes:
        afi: parameters.
        as_published: see `labelgen.labels.afi.refine_flat`.
        fill: label points without a label, too.
    """

    afi: AfiSettings = field(default_factory=AfiSettings)
    as_published: bool = False
    fill: bool = False
    name: str = "afi"
    stored: tuple[str, ...] = ("points",)

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {"afi": asdict(self.afi), "as_published": self.as_published, "fill": self.fill}

    def __call__(self, scene: Iterator[SceneFrame], taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        for one in scene:
            try:
                labels = refine_labels(
                    one.xyz, one.stored.labels, taxonomy.names, self.afi, self.as_published, self.fill
                )
                yield Derived(one.frame.frame_id, labels)
            except (ValueError, FrameError) as error:
                yield failure(one.stored.entry, self.name, error)
