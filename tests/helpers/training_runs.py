"""A labelled run that a network can learn from: ground, cars and trees, seen by one camera, with truth."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelgen.core.frame import Frame
from labelgen.core.records import (
    NO_CAMERA,
    NO_REGION,
    UNLABELLED,
    FrameRecord,
    FrameStatus,
    PointLabels,
    Reason,
    Regions,
    Semantics,
    Views,
)
from labelgen.core.taxonomy import ClassSpec, Taxonomy
from labelgen.data.fields import Sample, read_sample
from labelgen.datasets import DatasetInfo, write_frames
from labelgen.distill.samples import FrameTransform
from labelgen.runs import Run
from labelgen.shards import build_index, create_run, write_shard

FINGERPRINT = "00112233445566778899aabbccddeeff"
TAXONOMY = Taxonomy(
    name="toy",
    version=1,
    templates=("a {}.",),
    classes=tuple(
        ClassSpec(number, name, (80 * number, 90, 200), thing, (name,), (name,))
        for number, (name, thing) in enumerate([("ground", False), ("car", True), ("tree", False)])
    ),
    void=("sky",),
)
#: Ids in the label files; 9 is of no class.
CATEGORIES = {"ground": 1, "car": 2, "tree": 3, "other": 9}
CAR = 1
WIDTH = 8
PER_CLASS = (120, 60, 60)


def make_training_run(
    folder: Path,
    scenes: Sequence[str] = ("a", "b"),
    frames: int = 2,
    *,
    captions: bool = False,
    features: bool = True,
    points: bool = True,
    frames_per_shard: int = 3,
    dataset: str = "manifest",
) -> Path:
    """Write a run into ``folder/run`` and its truth into ``folder/data``.

    Points of the front half are seen and have pseudo-labels, one in ten of them wrong; the others have none.
    Each frame has 6 regions, two of every class, whose features are their class's direction with noise. The
    two cars are instances, of truth and pseudo-labels.

    Args:
        folder: empty.
        scenes: their names.
        frames: of each scene.
        captions: also store captions' features: the class's text.
        features: store regions' features.
        points: store the clouds; there are no raw files.
        frames_per_shard: at most.
        dataset: name in the plan.
    """
    root, run = folder / "data", folder / "run"
    root.mkdir(parents=True)
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=TAXONOMY.to_dict(), models=[])
    plan, records = [], []
    for number, (scene, index) in enumerate((scene, index) for scene in scenes for index in range(frames)):
        frame_id = f"{scene}-{index}"
        record, truth, instance = _record(np.random.default_rng(number), frame_id, scene, index, captions)
        ids = np.array([1, 2, 3], np.uint8)[truth]
        ids[0] = 9
        (root / f"{frame_id}.bin").write_bytes(ids.tobytes())
        np.savez(root / f"{frame_id}.npz", data=ids.astype(np.uint16) * 1000 + instance)
        records.append(record)
        plan.append(
            Frame(
                frame_id=frame_id,
                scene_id=scene,
                index=index,
                timestamp_us=index,
                lidar_path=f"{frame_id}.pcd.bin",
                lidar_layout="nuscenes",
                global_from_lidar=np.eye(4),
                cameras=(),
                label_path=f"{frame_id}.bin",
                panoptic_path=f"{frame_id}.npz",
                source_id="source",
            )
        )
    info = DatasetInfo(dataset=dataset, dataroot=str(root), categories=CATEGORIES)
    write_frames(run / "frames.parquet", plan, info)
    text = np.eye(len(TAXONOMY), WIDTH, dtype=np.float32)
    attributes = {"class_names": TAXONOMY.names, "text_embeddings": text, "text_encoder": {"name": "toy"}}
    only = () if features else ("points", "views", "regions/camera")
    if not points:
        records = [replace(record, xyz=None, intensity=None) for record in records]
    for begin in range(0, len(records), frames_per_shard):
        group = records[begin : begin + frames_per_shard]
        write_shard(run, group, [], fingerprint=FINGERPRINT, attributes=attributes, only=only)
    build_index(run)
    return run


def with_plan(run: Run, frames: Mapping[str, Frame] | None = None, **info: Any) -> Run:
    """The same run with other frames in its plan, or other things that hold for all of them."""
    other = copy.copy(run)
    other._plan = dict(run.plan if frames is None else frames), replace(run.dataset, **info)
    return other


class Samples:
    """What a transform makes of each frame, by (epoch, number of the frame)."""

    def __init__(self, transform: FrameTransform) -> None:
        self.transform, self.run = transform, transform.run

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, number = key
        stored = read_sample(self.run.frame(self.run.frames[number]), self.transform.fields)
        return self.transform(stored | {"epoch": epoch})


def _record(
    rng: np.random.Generator, frame_id: str, scene: str, index: int, captions: bool
) -> tuple[FrameRecord, np.ndarray, np.ndarray]:
    truth = np.repeat(np.arange(3), PER_CLASS)
    N = len(truth)
    xyz = rng.uniform(-12, 12, (N, 3))
    spot = rng.uniform(-10, 10, (6, 2))
    region = 2 * truth + rng.integers(0, 2, N)
    body = truth > 0
    xyz[body, :2] = spot[region[body]] + rng.normal(0, 0.7, (int(body.sum()), 2))
    xyz[:, 2] = np.choose(truth, [np.full(N, -1.8), rng.uniform(-1.5, 0, N), rng.uniform(0.5, 5, N)])
    xyz[:, 2] += rng.normal(0, 0.05, N)
    seen = xyz[:, 0] > 0
    wrong = rng.random(N) < 0.1
    label = np.where(wrong, rng.integers(0, 3, N), truth)
    label[~seen] = UNLABELLED
    instance = np.where(truth == CAR, region - 2 * CAR + 1, 0).astype(np.uint16)
    rows = np.flatnonzero(seen)
    feature = np.eye(3, WIDTH)[np.repeat(np.arange(3), 2)] + rng.normal(0, 0.05, (6, WIDTH))
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    text = np.eye(3, WIDTH, dtype=np.float16)[np.repeat(np.arange(3), 2)]
    record = FrameRecord(
        frame_id=frame_id,
        scene_id=scene,
        timestamp_us=index,
        source_id="source",
        status=FrameStatus.OK,
        notes=(),
        source_hashes={},
        views=Views(
            point=rows.astype(np.int32),
            camera=np.zeros(len(rows), np.uint8),
            uv=rng.uniform(0, 90, (len(rows), 2)).astype(np.float32),
            depth=xyz[rows, 0].astype(np.float32) + 1,
            depth_residual=np.zeros(len(rows), np.float32),
            visible=rng.random(len(rows)) < 0.9,
        ),
        view_region=np.where(rng.random(len(rows)) < 0.9, region[rows], NO_REGION).astype(np.uint16),
        regions=Regions(
            camera=np.zeros(6, np.uint8),
            box_xyxy=np.zeros((6, 4), np.float32),
            area=np.full(6, 100, np.int32),
            score=np.ones(6, np.float16),
            stability=np.ones(6, np.float16),
            rle=(b"",) * 6,
        ),
        semantics=Semantics(
            class_scores=np.repeat(np.eye(3) * 0.9, 2, axis=0).astype(np.float16),
            label=np.repeat(np.arange(3), 2).astype(np.uint8),
            feature=feature.astype(np.float16),
            caption=("a thing",) * 6 if captions else None,
            caption_feature=text if captions else None,
        ),
        labels=PointLabels(
            label=label.astype(np.uint8),
            confidence=np.where(seen, np.where(wrong, 90, 230), 0).astype(np.uint8),
            margin=np.zeros(N, np.uint8),
            instance=np.where(label == CAR, instance, 0).astype(np.uint16),
            region=np.where(seen, region, NO_REGION).astype(np.uint16),
            camera=np.where(seen, 0, NO_CAMERA).astype(np.uint8),
            views=seen.astype(np.uint8),
            reason=np.where(seen, Reason.LABELLED, Reason.NO_CAMERA).astype(np.uint8),
        ),
        xyz=xyz.astype(np.float32),
        intensity=rng.uniform(0, 60, N).astype(np.float32),
    )
    return record, truth, instance
