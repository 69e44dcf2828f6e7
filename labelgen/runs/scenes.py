"""The labelled frames of one scene of a run, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labelgen.core.frame import Frame
from labelgen.runs.run import Run, RunFrame


@dataclass(frozen=True)
class Scene:
    """The labelled frames of one scene; going through them reads them one by one and keeps none.

    Attributes:
        run: that they are of.
        scene_id: of all of them.
        frame_ids: by time.
    """

    run: Run
    scene_id: str
    frame_ids: tuple[str, ...]

    def __iter__(self) -> Iterator[RunFrame]:
        return map(self.run.frame, self.frame_ids)

    @property
    def has_poses(self) -> bool:
        """Whether its frames lie in one global frame."""
        return have_poses([self.run.planned(frame_id) for frame_id in self.frame_ids])


def scenes_of(run: Run) -> Sequence[Scene]:
    """The scenes of a run, by name; frames that failed are left out.

    Raises:
        UserError: the run has no plan, or it lacks a frame.
    """
    groups: dict[str, list[str]] = {}
    for frame_id in run.frames:  # by scene, then time
        run.planned(frame_id)
        groups.setdefault(run.entry(frame_id).scene_id, []).append(frame_id)
    return [Scene(run, name, tuple(ids)) for name, ids in sorted(groups.items())]


def any_poses(run: Run) -> bool:
    """Whether any scene of a run has poses."""
    return any(scene.has_poses for scene in scenes_of(run))


def have_poses(frames: Sequence[Frame]) -> bool:
    """Whether the frames of a scene have poses: the identity in all of several stands for none."""
    return len(frames) == 1 or any((frame.global_from_lidar != np.eye(4)).any() for frame in frames)
