"""The oracle ladder: where a run's quality is lost, each stage in turn replaced by the city's truth.

Everything but the models' answer to true masks comes from the run's shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.core.records import NO_REGION, UNLABELLED, FrameRecord, Regions, Semantics, Views
from labelgen.datasets.roots import clouds
from labelgen.demo.world.truth import CityTruth, FrameTruth
from labelgen.engine.operations import fusion_of
from labelgen.geometry import ProjectionSettings
from labelgen.labels.afi import refine_labels
from labelgen.labels.revote import Ballot
from labelgen.labels.settings import VoteSettings
from labelgen.metrics import SegmentationScore
from labelgen.metrics.oracle import true_regions, true_semantics, with_true_visibility
from labelgen.runs import Run, RunFrame, Scene, scenes_of
from labelgen.semantics.base import FrameImages

#: {rung: what is true and what is the run's own}, from the truth down to what a user gets.
RUNGS = {
    "projection": "true masks, classes and visibility: what projection and timing cost",
    "true": "true masks and classes, own depth test",
    "untested": "true masks and classes, no depth test",
    "true_masks": "true masks, own classes",
    "true_classes": "own masks, true classes",
    "run": "own masks and classes: the run's votes",
    "fused": "the same, fused over the frames of each scene",
    "afi": "the same, refined along flat structures, gaps filled",
}


class Rung:
    """Scores of one rung, gathered frame by frame."""

    def __init__(self, names: list[str]) -> None:
        self.score = SegmentationScore(names)
        self.seen = self.right = 0

    def update(self, truth: NDArray[np.uint8], label: NDArray[np.uint8], seen: NDArray[np.bool_]) -> None:
        """Add a frame: classes, labels, and which points a camera truly sees, (N,) each."""
        self.score.update(truth, label)
        asked = seen & (truth != UNLABELLED) & (label != UNLABELLED)
        self.seen += int(asked.sum())
        self.right += int((truth[asked] == label[asked]).sum())

    def result(self) -> dict[str, Any]:
        """``miou``, ``coverage``, ``miou_all``; ``right``: share of labels, where a camera truly sees."""
        found = self.score.result()
        scores = {key: found[key] for key in ("miou", "coverage", "miou_all")}
        return scores | {"right": self.right / self.seen if self.seen else None}


def climb(run: Run, on_frame: Callable[[int], None] = lambda count: None) -> dict[str, dict[str, Any]]:
    """Measure all rungs on all labelled frames of a run on the simulated city.

    Args:
        run: not a derived one; whose votes are climbed from.
        on_frame: called with the number of frames that are done.

    Returns:
        {rung: see `Rung.result`}, in the order of `RUNGS`.

    Raises:
        UserError: the run is derived, or its data root is not that of a simulated city.
    """
    if run.parent is not None:
        raise UserError(f"{run.url} is derived from {run.parent.url}; the ladder is climbed from that one")
    scenes = scenes_of(run)
    run.need(clouds)
    steps = _Steps(run)
    rungs = {name: Rung(run.taxonomy.names) for name in RUNGS}
    for scene in scenes:
        known: dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]] = {}
        for one in scene:
            told = steps.city.frame(one.planned)
            known[one.frame_id] = one.truth, told.seen.any(axis=1)
            for name, label in steps.alone(one, told):
                rungs[name].update(one.truth, label, told.seen.any(axis=1))
            on_frame(1)
        for name, frame_id, label in steps.together(scene):
            truth, seen = known[frame_id]
            rungs[name].update(truth, label, seen)
    return {name: rung.result() for name, rung in rungs.items()}


class _Steps:
    """Labels of each rung."""

    def __init__(self, run: Run) -> None:
        from labelgen.semantics import make_encoder

        config, self.taxonomy = run.settings, run.taxonomy
        self.city = CityTruth(run.root, run.dataset, run.taxonomy)
        self.encoder = make_encoder(config.semantics, config.runtime.device, config.runtime.threads)
        self.vote = config.labels.part(VoteSettings)
        self.projection = config.projection.part(ProjectionSettings)
        self.fusion = fusion_of(config.labels, config.fusion, config.projection)

    def alone(self, one: RunFrame, told: FrameTruth) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Rungs that look at one frame."""
        record, classes = one.record(), len(self.taxonomy)
        masks = true_regions(told.objects)
        meaning = true_semantics(masks, told.classes, classes)
        views = record.views
        blind = replace(views, visible=np.ones(len(views), np.bool_))
        rungs: dict[str, tuple[Views, Regions, Semantics]] = {
            "projection": (with_true_visibility(views, told.seen), masks, meaning),
            "true": (views, masks, meaning),
            "untested": (blind, masks, meaning),
            "true_masks": (views, masks, self._named(one, masks)),
            "true_classes": (views, record.regions, true_semantics(record.regions, told.classes, classes)),
            "run": (views, record.regions, record.semantics),
        }
        for name, parts in rungs.items():
            yield name, self._labels(record, one.planned, *parts)

    def together(self, scene: Scene) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
        """Rungs that look at a whole scene: (rung, frame, labels)."""
        xyz = {one.frame_id: one.xyz for one in scene}
        for derived in self.fusion(scene, self.taxonomy):
            labels = getattr(derived, "labels", None)
            if labels is None:
                continue
            yield "fused", derived.frame_id, labels.label
            refined = refine_labels(xyz[derived.frame_id], labels, self.taxonomy.names, fill=True)
            yield "afi", derived.frame_id, refined.label

    def _labels(
        self, record: FrameRecord, frame: Frame, views: Views, regions: Regions, semantics: Semantics
    ) -> NDArray[np.uint8]:
        if regions is not record.regions:  # what is stored of which mask lies where holds for the run's own
            nowhere = np.full(len(views), NO_REGION, np.uint16)
            record = replace(record, regions=regions, semantics=semantics, view_region=nowhere, hits=None)
        record = replace(record, views=views, semantics=semantics)
        ballot = Ballot(record, frame.cameras, self.vote, self.projection, keep_visible=True)
        return ballot.labels().label

    def _named(self, frame: RunFrame, masks: Regions) -> Semantics:
        images = [frame.image(number) for number in range(len(frame.planned.cameras))]
        return self.encoder.encode(FrameImages(images), masks, self.taxonomy)
