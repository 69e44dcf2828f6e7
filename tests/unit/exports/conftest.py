"""A labelled run of a tiny nuScenes data root, with regions whose masks can be drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.frame import Frame
from labelgen.core.records import FrameRecord
from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.datasets import plan_frames, write_frames
from labelgen.datasets.info import DatasetInfo
from labelgen.geometry.rle import encode
from labelgen.shards import create_run, write_shard
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.records import identity_of, make_record
from tests.helpers.runs import FINGERPRINT

SIZE = (160, 90)
POINTS = 300


@dataclass
class Labelled:
    """A run with all that it was made from."""

    root: Path
    run: Path
    frames: list[Frame]
    info: DatasetInfo
    records: dict[str, FrameRecord]
    taxonomy: Taxonomy


def record_of(frame: Frame, seed: int, regions: int = 30) -> FrameRecord:
    """A random record whose masks are rectangles that overlap."""
    rng = np.random.default_rng(seed)
    record = make_record(
        rng,
        **identity_of(frame),
        points=POINTS,
        regions=regions,
        cameras=len(frame.cameras),
        classes=16,
        image_size=SIZE,
    )
    masks = []
    for _ in range(regions):
        x, y = rng.integers(0, SIZE[0] - 20), rng.integers(0, SIZE[1] - 20)
        mask = np.zeros((SIZE[1], SIZE[0]), bool)
        mask[y : y + rng.integers(4, 60), x : x + rng.integers(4, 80)] = True
        masks.append(mask)
    area = np.array([mask.sum() for mask in masks], np.int32)
    return replace(
        record,
        regions=replace(record.regions, rle=tuple(encode(mask) for mask in masks), area=area),
    )


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelled]:
    folder = tmp_path_factory.mktemp("exports")
    root = make_dataroot(folder, scenes=4, samples=2, points=POINTS, image_size=SIZE)
    frames, info = plan_frames("nuscenes", root)
    taxonomy = load_taxonomy("nuscenes16")
    run = folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=taxonomy.to_dict(), models=[])
        write_frames(run / "frames.parquet", frames, info)
        records = [record_of(frame, seed) for seed, frame in enumerate(frames)]
        write_shard(run, records, [], fingerprint=FINGERPRINT)
        yield Labelled(root, run, frames, info, {r.frame_id: r for r in records}, taxonomy)
