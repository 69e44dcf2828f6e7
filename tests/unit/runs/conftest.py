"""One small data root, and a run that stores no points: random labels, regions and views."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.config import RunConfig
from labelgen.datasets import plan_frames, write_frames
from labelgen.geometry.rle import encode
from labelgen.shards import create_run, write_shard
from labelgen.core.taxonomy import load_taxonomy
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.records import identity_of, make_record
from tests.helpers.runs import FINGERPRINT

POINTS = 300


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nuScenes data root of two scenes with two frames each."""
    return make_dataroot(tmp_path_factory.mktemp("runs"), scenes=2, samples=2, points=POINTS)


def write_run(root: Path, run: Path, points: bool = False) -> Path:
    """Write a run of all frames; with the points of the raw files, if it is to store them."""
    frames, info = plan_frames("nuscenes", root)
    taxonomy = load_taxonomy("nuscenes16")
    config = RunConfig().settle("nuscenes16", info.ego_box).model_dump(mode="json")
    create_run(run, fingerprint=FINGERPRINT, config=config, taxonomy=taxonomy.to_dict(), models=[])
    write_frames(run / "frames.parquet", frames, info)
    mask = np.zeros((90, 160), np.bool_)
    mask[20:40, 30:60] = True
    records = []
    for seed, frame in enumerate(frames):
        rng = np.random.default_rng(seed)
        record = make_record(rng, **identity_of(frame), points=POINTS, regions=8, cameras=6, classes=16)
        raw = np.fromfile(root / frame.lidar_path, np.float32).reshape(-1, 5)
        stored = (raw[:, :3], raw[:, 3]) if points else (None, None)
        regions = replace(record.regions, rle=(encode(mask),) * len(record.regions))
        records.append(replace(record, xyz=stored[0], intensity=stored[1], regions=regions))
    write_shard(run, records, [], fingerprint=FINGERPRINT)
    return run


@pytest.fixture(scope="session")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Data root and run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield root, write_run(root, tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """The run, to be changed."""
    return Path(shutil.copytree(made[1], tmp_path / "run"))
