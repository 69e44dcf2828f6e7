"""How a stored frame votes anew: what with, and what of."""

from __future__ import annotations

from labelgen.config import LabelSection, ProjectionSection
from labelgen.core.records import FrameRecord
from labelgen.core.settings_reading import stored
from labelgen.geometry import ProjectionSettings
from labelgen.labels.revote import needs_masks
from labelgen.labels.settings import VoteSettings
from labelgen.runs import Run
from labelgen.shards import StoredFrame


def votable(frame: StoredFrame, settings: VoteSettings) -> FrameRecord:
    """What a `Ballot` of these settings needs: without the masks, if they are not looked into."""
    return frame.record(masks=needs_masks(frame.hit_reach, settings))


def vote_settings(run: Run) -> tuple[VoteSettings, ProjectionSettings]:
    """What a voted run's labels were voted with: by the last operation that voted, or by the run itself."""
    config = run.info.config
    if run.parent is not None:
        made = config["derived"]
        return VoteSettings(**made["labels"]), ProjectionSettings(**made["projection"])
    labels = stored(LabelSection, config, "labels", run.url)
    projection = stored(ProjectionSection, config, "projection", run.url)
    return labels.part(VoteSettings), projection.part(ProjectionSettings)
