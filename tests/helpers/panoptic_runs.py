"""Runs whose labels are a network's segments: the way of `labelgen train predict`, with given segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelgen.core.records import UNLABELLED, PointLabels, Regions
from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.data import LabelDataset
from labelgen.datasets import load_cloud, plan_frames, write_frames
from labelgen.distill.config import DataConfig
from labelgen.distill.panoptic import Segments
from labelgen.distill.predict import segments_as_labels
from labelgen.distill.samples import FrameTransform, batches_of
from labelgen.engine.derivation import Derived, plan_derivation
from labelgen.engine.derive import derive
from labelgen.runs import Scene, open_run
from labelgen.shards import create_run, write_shard
from tests.helpers.records import identity_of, make_record
from tests.helpers.runs import FINGERPRINT

#: Changes what is answered for the points of a frame.
Change = Callable[[Segments], Segments]


def make_bare_run(folder: Path, dataset: str, root: Path, taxonomy: str, split: str = "") -> Path:
    """A run without regions and labels, of all frames of a data set."""
    frames, info = plan_frames(dataset, root, split=split)
    chosen = load_taxonomy(taxonomy)
    create_run(folder, fingerprint=FINGERPRINT, config={}, taxonomy=chosen.to_dict(), models=[])
    write_frames(folder / "frames.parquet", frames, info)
    rng = np.random.default_rng(0)
    records = []
    for frame in frames:
        N = len(load_cloud(Path(info.dataroot), frame)[0])
        record = make_record(
            rng,
            **identity_of(frame),
            points=N,
            regions=0,
            views=0,
            classes=len(chosen),
        )
        nothing = replace(
            record.labels,
            label=np.full(N, UNLABELLED, np.uint8),
            confidence=np.zeros(N, np.uint8),
            instance=np.zeros(N, np.uint16),
            views=np.zeros(N, np.uint8),
        )
        records.append(replace(record, labels=nothing, regions=Regions.empty()))
    write_shard(folder, records, [], fingerprint=FINGERPRINT)
    return folder


@dataclass(frozen=True)
class TrueSegments:
    """In the place of a network: the true segments of a frame's points, changed as wanted."""

    change: Change | None = None
    name: str = "predicted"
    stored: tuple[str, ...] = ("points",)
    points: frozenset[str] = frozenset()

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived]:
        """Frame by frame."""
        small = DataConfig(voxel=1e-3)  # of so few points, hardly two share one
        transform = FrameTransform(
            scene.run, scene.frame_ids, ("instance",), small,
            neighbours=0, bounds=None, training=False, truth=True,
        )  # fmt: skip
        data = LabelDataset(scene.run, transform.fields, frames=scene.frame_ids, transform=transform)
        for frame_id, batch in zip(scene.frame_ids, batches_of(data, workers=0), strict=True):
            assert batch.label is not None
            assert batch.instance is not None
            assert batch.raw_point is not None
            sure = torch.where(batch.label == UNLABELLED, 0.0, 0.8)
            found = Segments(batch.label, batch.instance + 1, sure, sure / 2)
            if self.change is not None:
                found = self.change(found)
            views = scene.run.frame(frame_id).array("points/views")
            yield Derived(frame_id, segments_as_labels(found, batch.raw_point.numpy(), views))


def make_predicted_run(parent: Path, folder: Path, change: Change | None = None) -> Path:
    """A run laid over one of `make_bare_run`, with true segments for a network's."""
    derive(plan_derivation(open_run(parent), TrueSegments(change), folder), lambda count: None)
    return folder


def labels_of(run: Path) -> dict[str, PointLabels]:
    """{frame id: its labels}."""
    opened = open_run(run)
    return {frame_id: opened.frame(frame_id).labels for frame_id in opened.frames}
