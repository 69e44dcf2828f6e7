"""The operations of pass 2 as thin callables over the library; see `labelgen.engine.derivation.Operation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.config import FusionSection, LabelSection, ProjectionSection
from labelgen.core.errors import FrameError
from labelgen.core.records import UNLABELLED, Failure, FrameRecord, PointLabels
from labelgen.core.taxonomy import Taxonomy
from labelgen.engine.derivation import Derived
from labelgen.engine.failures import failure_by
from labelgen.engine.voting import votable
from labelgen.geometry import ProjectionSettings, region_hits
from labelgen.geometry.occlusion import beam_spacing
from labelgen.labels.afi import AfiSettings, refine_labels
from labelgen.labels.calibrate import Calibration
from labelgen.labels.fuse import Sighting, fuse_scene
from labelgen.labels.instances import find_instances
from labelgen.labels.revote import Ballot
from labelgen.labels.settings import FusionSettings, InstanceSettings, TrackSettings, VoteSettings
from labelgen.labels.tracks import Tracker
from labelgen.runs import RunFrame, Scene


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
    points: frozenset[str] = frozenset()

    @property
    def stored(self) -> tuple[str, ...]:
        """Labels, and the depth test's answer where it is asked anew."""
        return ("points",) if self.keep_visible else ("points", "views/visible")

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {"labels": self.vote.covered(), "projection": self.projection.covered()}

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        for one in scene:
            try:
                record = votable(one, self.vote)
                ballot = Ballot(record, one.planned.cameras, self.vote, self.projection, self.keep_visible)
                visible = None if self.keep_visible else ballot.views.visible
                yield Derived(one.frame_id, ballot.labels(), visible, record=record)
            except (ValueError, FrameError) as error:
                yield failure_by(one.entry, self.name, error)


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
    points: frozenset[str] = frozenset({"points/xyz"})

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {"afi": self.afi.covered(), "as_published": self.as_published, "fill": self.fill}

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        for one in scene:
            try:
                labels = refine_labels(
                    one.xyz, one.labels, taxonomy.names, self.afi, self.as_published, self.fill
                )
                yield Derived(one.frame_id, labels)
            except (ValueError, FrameError) as error:
                yield failure_by(one.entry, self.name, error)


@dataclass(frozen=True)
class Calibrate:
    """Confidence as a table says.

    Attributes:
        table: 256 shares, see `labelgen.labels.calibrate.Calibration`.
    """

    table: tuple[float, ...]
    name: str = "calibrated"
    stored: tuple[str, ...] = ("points",)
    points: frozenset[str] = frozenset()

    def settings(self) -> dict[str, Any]:
        """All that can change a label's confidence."""
        return {"calibration": list(self.table)}

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        calibration = Calibration(np.array(self.table))
        for one in scene:
            yield Derived(one.frame_id, calibration(one.labels))


@dataclass(frozen=True)
class FuseScene:
    """Instances followed over the scene, and labels fused over time.

    Attributes:
        vote: settings that a frame's own evidence is gathered with.
        projection: the depth test's tolerance, which weighs residuals.
        fusion: settings of the fusion; None leaves the labels as they are and gives instances only.
        instances: when points belong to one thing; the beam spacing is that of the data.
        tracks: when an instance continues a track.
    """

    vote: VoteSettings = field(default_factory=VoteSettings)
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    fusion: FusionSettings | None = field(default_factory=FusionSettings)
    instances: InstanceSettings = field(default_factory=InstanceSettings)
    tracks: TrackSettings = field(default_factory=TrackSettings)
    stored: tuple[str, ...] = ("points",)
    points: frozenset[str] = frozenset({"points/xyz"})

    @property
    def name(self) -> str:
        """As in the command line."""
        return "instances" if self.fusion is None else "fused"

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        return {
            "labels": self.vote.covered(),
            "projection": self.projection.covered(),
            "fusion": None if self.fusion is None else self.fusion.covered(),
            "instances": self.instances.covered(),
            "tracks": self.tracks.covered(),
        }

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Twice along the scene: first to follow things, as a thing that moves later moves now.

        A scene without poses keeps its labels, with things numbered frame by frame.
        """
        things = [spec.thing for spec in taxonomy.classes]
        if not scene.has_poses:
            for one in scene:
                yield Derived(one.frame_id, self._numbered(one, votable(one, self.vote), things))
            return
        tracker, numbers = Tracker(self.tracks), {}
        for one in scene:
            labels = self._numbered(one, votable(one, self.vote), things)
            tracks = tracker.update(
                one.planned.timestamp_us,
                one.planned.global_from_lidar,
                one.xyz,
                labels.label,
                labels.instance,
            )
            numbers[one.frame_id] = np.unique(np.stack([labels.instance, tracks]), axis=1)
            if self.fusion is None:
                yield Derived(one.frame_id, replace(labels, instance=tracks))
        if self.fusion is not None:
            sightings = (self._sighting(one, things, tracker, numbers) for one in scene)
            for frame_id, labels in fuse_scene(sightings, self.fusion):
                yield Derived(frame_id, labels)

    def _sighting(
        self, one: RunFrame, things: list[bool], tracker: Tracker, numbers: dict[str, NDArray[np.uint16]]
    ) -> Sighting:
        record = votable(one, self.vote)
        labels = self._numbered(one, record, things)
        old, new = numbers[one.frame_id]
        table = np.zeros(int(old.max(initial=0)) + 1, np.uint16)
        table[old] = new
        instance = table[labels.instance]
        return Sighting(
            frame_id=one.frame_id,
            time_us=one.planned.timestamp_us,
            global_from_lidar=one.planned.global_from_lidar,
            xyz=one.xyz,
            evidence=self._evidence(one, record, len(things)),
            labels=replace(labels, instance=instance),
            moving=np.isin(instance, list(tracker.moving)),
        )

    def _evidence(self, one: RunFrame, record: FrameRecord, classes: int) -> NDArray[np.float32]:
        """(N, C + 1) float32 votes for each class, void last.

        From the views and regions where the labels come from a vote; where an earlier refinement changed them
        (a derived run), one vote of each label's confidence.
        """
        if one.run.voted:
            cameras = one.planned.cameras
            return Ballot(record, cameras, self.vote, self.projection, keep_visible=True).sums()
        out = np.zeros((len(record.labels), classes + 1), np.float32)
        rows = np.flatnonzero(record.labels.label != UNLABELLED)
        out[rows, record.labels.label[rows]] = record.labels.confidence[rows] / np.float32(255)
        return out

    def _numbered(self, one: RunFrame, record: FrameRecord, things: list[bool]) -> PointLabels:
        spacing = beam_spacing(one.planned.lidar_layout)
        hits = record.hits or region_hits(record.views, record.regions, one.planned.cameras)
        instance = find_instances(
            one.xyz, record.labels, record.views, hits, record.regions, record.semantics, things,
            self.instances.model_copy(update={"spacing_deg": spacing}),
        )  # fmt: skip
        return replace(record.labels, instance=instance)


def fusion_of(labels: LabelSection, fusion: FusionSection, projection: ProjectionSection) -> FuseScene:
    """The fusion that a configuration asks for."""
    return FuseScene(
        vote=labels.part(VoteSettings),
        projection=projection.part(ProjectionSettings),
        fusion=fusion.part(FusionSettings),
    )
