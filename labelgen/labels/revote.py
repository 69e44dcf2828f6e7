"""New labels from what a shard holds: other thresholds, other weights, no model and no raw file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.core.records import FrameRecord, FrameStatus, PointLabels, Reason, Views
from labelgen.geometry import ProjectionSettings, region_hits
from labelgen.geometry.fractions import whole_reach
from labelgen.geometry.occlusion import is_visible
from labelgen.labels.evidence import hit_evidence
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import class_evidence, vote


class Ballot:
    """Everything that the vote on one stored frame needs.

    Args:
        record: a stored frame whose labels come from `labelgen.labels.vote`.
        cameras: of the frame.
        settings: of the vote.
        projection: the depth test's tolerance.
        keep_visible: take the stored answer of the depth test, as the tolerance is the stored one; otherwise
            it is asked anew of the stored residuals.

    Attributes:
        views: with the visibility that holds now.
        hits: regions under each view.

    Raises:
        ValueError: if a run-length code is damaged.
    """

    def __init__(
        self,
        record: FrameRecord,
        cameras: Sequence[Camera],
        settings: VoteSettings,
        projection: ProjectionSettings,
        keep_visible: bool,
    ) -> None:
        stored = record.views
        visible = stored.visible
        if not keep_visible:
            visible = is_visible(stored.depth_residual, stored.depth, projection)
        self.views = Views(
            stored.point, stored.camera, stored.uv, stored.depth, stored.depth_residual, visible
        )
        hits = record.hits
        if hits is None or needs_masks(hits.reach, settings):
            hits = region_hits(self.views, record.regions, cameras, settings.reach)
        self.hits = hits
        self._record, self._settings = record, settings
        self._ok = cameras_present(record, len(cameras))
        self._ego = record.labels.reason == Reason.EGO
        self._returned = record.labels.reason != Reason.NO_RETURN
        self._evidence = hit_evidence(self.views, self.hits, record.semantics, cameras, settings, projection)

    def labels(self) -> PointLabels:
        """As `labelgen.labels.vote` gives them; instances stay where the label does."""
        record = self._record
        found = vote(
            len(record.labels),
            self.views,
            self.hits,
            record.regions,
            record.semantics,
            self._settings,
            self._ok,
            self._ego,
            self._evidence,
            self._returned,
        )
        found.instance[:] = np.where(found.label == record.labels.label, record.labels.instance, 0)
        return found

    def sums(self) -> NDArray[np.float32]:
        """(N, C + 1) float32, as `labelgen.labels.class_evidence` gives them."""
        record = self._record
        return class_evidence(
            len(record.labels),
            self.views,
            self.hits,
            record.regions,
            record.semantics,
            self._ok,
            self._ego,
            self._evidence,
            self._returned,
        )


def needs_masks(stored_reach: int | None, settings: VoteSettings) -> bool:
    """Whether a vote has to look into the masks.

    The stored hits do, if they are there (an older run has none) and have looked as far as these settings do.

    Args:
        stored_reach: of the stored hits; None where there are none.
        settings: of the vote.
    """
    return stored_reach is None or whole_reach(settings.reach) not in (0, stored_reach)


def cameras_present(record: FrameRecord, cameras: int) -> NDArray[np.bool_]:
    """(cameras,) which images could be read, worked out from what is stored.

    Only a partial frame lacks any. There, a camera is present if it has regions, or if it is among those
    that see a point all of whose visible views were counted.
    """
    out = np.ones(cameras, np.bool_)
    if record.status is FrameStatus.OK:
        return out
    views = record.views
    out[:] = False
    out[record.regions.camera] = True
    visible = np.bincount(views.point[views.visible], minlength=len(record.labels))
    complete = (visible > 0) & (visible == record.labels.views)
    out[views.camera[views.visible & complete[views.point]]] = True
    return out
