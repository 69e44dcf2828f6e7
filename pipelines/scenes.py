"""What pass 2 works on: the frames of one scene of a run, in the order of time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.config import LabelSection, ProjectionSection
from labelgen.datasets.roots import read_labelled
from labelgen.frame import Frame
from labelgen.geometry import ProjectionSettings
from labelgen.labels import VoteSettings
from labelgen.labels.revote import Ballot, needs_masks
from labelgen.records import UNLABELLED, FrameRecord
from labelgen.settings_reading import stored
from labelgen.shards import Run, read_plan
from labelgen.shards.frames import StoredFrame


@dataclass(frozen=True)
class SceneFrame:
    """One labelled frame: what the data set says of it and what the run holds.

    Attributes:
        frame: of the plan; its cameras and its pose.
        stored: of the run.
        root: the data root, for runs that store no points.
        derived: whether the labels are other than what the vote of the stored regions gives.
    """

    frame: Frame
    stored: StoredFrame
    root: Path
    derived: bool = False

    @cached_property
    def record(self) -> FrameRecord:
        """All that is stored."""
        return self.stored.record()

    def votable(self, settings: VoteSettings) -> FrameRecord:
        """What a `Ballot` of these settings needs: without the masks, if they are not looked into."""
        return self.record if needs_masks(self.stored.hit_reach, settings) else self._unmasked

    @cached_property
    def _unmasked(self) -> FrameRecord:
        return self.stored.record(masks=False)

    @cached_property
    def xyz(self) -> NDArray[np.float32]:
        """(N, 3) float32 metres in the LiDAR frame, from the shard or, if it has none, the raw file.

        Raises:
            RawFileError: neither; or the raw file has another number of points.
        """
        if self.stored.xyz is not None:
            return self.stored.xyz
        return read_labelled(self.root, self.frame, self.stored.num_points).xyz

    def evidence(
        self, settings: VoteSettings, projection: ProjectionSettings, classes: int
    ) -> NDArray[np.float32]:
        """(N, C + 1) float32 votes for each class, void last.

        From the views and regions where the labels come from a vote; where an earlier refinement changed them
        (a derived run), one vote of each label's confidence.
        """
        if not self.derived:
            record = self.votable(settings)
            return Ballot(record, self.frame.cameras, settings, projection, keep_visible=True).sums()
        record = self.record
        out = np.zeros((len(record.labels), classes + 1), np.float32)
        rows = np.flatnonzero(record.labels.label != UNLABELLED)
        out[rows, record.labels.label[rows]] = record.labels.confidence[rows] / np.float32(255)
        return out


@dataclass(frozen=True)
class Scene:
    """The labelled frames of one scene; frames are read one by one and not kept.

    Attributes:
        scene_id: of all of them.
        frame_ids: by time.
    """

    run: Run
    plan: Mapping[str, Frame]
    root: Path
    scene_id: str
    frame_ids: tuple[str, ...]

    def __iter__(self) -> Iterator[SceneFrame]:
        for frame_id in self.frame_ids:
            yield SceneFrame(self.plan[frame_id], self.run.frame(frame_id), self.root, not voted(self.run))

    @cached_property
    def mark(self) -> str:
        """Names what a derived run's labels of this scene are made of: all its frames and their sources.

        It is the ``source_id`` of the scene's frames in a derived run, where a scene that has gained a frame,
        or had one labelled anew, is done anew, as a frame is whose files have changed.
        """
        members = sorted((frame_id, self.run.entry(frame_id).source_id) for frame_id in self.frame_ids)
        return hashlib.blake2b(json.dumps(members).encode(), digest_size=16).hexdigest()

    @property
    def has_poses(self) -> bool:
        """Whether its frames lie in one global frame."""
        return have_poses([self.plan[frame_id] for frame_id in self.frame_ids])


#: Operations after which the labels still are what the stored views and regions vote for.
VOTES = ("revote", "relabelled", "retrieval")


def operation_of(run: Run) -> str:
    """Name of the operation that made a derived run; empty for a run that was labelled itself."""
    return "" if run.parent is None else str(run.info.config.get("derived", {}).get("operation"))


def voted(run: Run) -> bool:
    """Whether a run's labels are what its views and regions vote for: nothing has fused them since.

    Labels that another tool made were not voted for.
    """
    if run.parent is None:
        return "imported" not in run.info.config
    return operation_of(run) in VOTES and voted(run.parent)


def vote_settings(run: Run) -> tuple[VoteSettings, ProjectionSettings]:
    """What a voted run's labels were voted with: by the last operation that voted, or by the run itself."""
    config = run.info.config
    if run.parent is not None:
        made = config["derived"]
        return VoteSettings(**made["labels"]), ProjectionSettings(**made["projection"])
    labels = stored(LabelSection, config, "labels", run.url)
    projection = stored(ProjectionSection, config, "projection", run.url)
    return labels.part(VoteSettings), projection.part(ProjectionSettings)


def have_poses(frames: Sequence[Frame]) -> bool:
    """Whether the frames of a scene have poses: the identity in all of several stands for none."""
    return len(frames) == 1 or any((frame.global_from_lidar != np.eye(4)).any() for frame in frames)


def any_poses(run: Run) -> bool:
    """Whether any scene of a run has poses."""
    frames, info = read_plan(run.store)
    plan = {frame.frame_id: frame for frame in frames}
    return any(scene.has_poses for scene in scenes_of(run, plan, Path(info.dataroot)))


def scenes_of(run: Run, plan: Mapping[str, Frame], root: Path) -> Sequence[Scene]:
    """The scenes of a run, by name; frames that failed are left out."""
    groups: dict[str, list[str]] = {}
    for frame_id in run.frames:  # by scene, then time
        groups.setdefault(run.entry(frame_id).scene_id, []).append(frame_id)
    return [Scene(run, plan, root, name, tuple(ids)) for name, ids in sorted(groups.items())]
