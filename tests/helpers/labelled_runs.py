"""Whole runs without models: real frames, projection and vote; regions and their meaning are made up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from labelgen.config import RunConfig
from labelgen.core.records import Regions, Semantics
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import plan_frames
from labelgen.engine.job import Job, commit
from labelgen.engine.planning import own_taxonomy
from labelgen.engine.steps import LoadFrame, ProjectPoints, VoteLabels
from labelgen.engine.task import FrameTask, run_steps
from labelgen.geometry import rle
from labelgen.shards import build_index, create_run, merge_plan

FINGERPRINT = "fedcba9876543210" * 2
ROWS, COLUMNS = 3, 5


@dataclass
class Tiles:
    """A grid of tiles in every image, each with the same random meaning whatever the order of frames."""

    classes: int
    name: str = "tiles"
    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("regions", "semantics")
    holds_model: ClassVar[bool] = True

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Fill ``regions`` and ``semantics``."""
        rng = np.random.default_rng(list(task.frame.frame_id.encode()))
        codes, camera, area = [], [], []
        for number, data in enumerate(task.images):
            if data is None:
                continue
            one = task.frame.cameras[number]
            y, x = np.mgrid[: one.height, : one.width]
            tile = y * ROWS // one.height * COLUMNS + x * COLUMNS // one.width
            masks = [tile == k for k in range(ROWS * COLUMNS)] + [tile < 2 * COLUMNS]
            codes += [rle.encode(mask) for mask in masks]
            area += [int(mask.sum()) for mask in masks]
            camera += [number] * len(masks)
        K = len(codes)
        task.regions = Regions(
            camera=np.array(camera, np.uint8),
            box_xyxy=np.zeros((K, 4), np.float32),
            area=np.array(area, np.int32),
            score=rng.uniform(0.6, 1, K).astype(np.float16),
            stability=np.ones(K, np.float16),
            rle=tuple(codes),
        )
        scores = rng.dirichlet(np.full(self.classes + 1, 0.2), K)[:, : self.classes].astype(np.float16)
        task.semantics = Semantics(
            scores, scores.argmax(1).astype(np.uint8), np.ones((K, 2), np.float16) / np.float16(np.sqrt(2))
        )


def label(dataset: str, root: Path, run: Path, config: RunConfig | None = None, **more: object) -> Path:
    """Label a data set with `Tiles` into a new run.

    Args:
        dataset, root: as `plan_frames` takes them.
        run: folder of the run.
        config: its settings; the defaults with stored points otherwise.
        **more: stages in the place of `Tiles`: ``stages=[...]``.
    """
    config = config or RunConfig.model_validate({"dataset": dataset, "shards": {"store_points": True}})
    frames, info = plan_frames(dataset, root)
    config = config.settle(own_taxonomy(info), info.ego_box)
    taxonomy = load_taxonomy(str(config.taxonomy))
    create_run(
        run,
        fingerprint=FINGERPRINT,
        config=config.model_dump(mode="json"),
        taxonomy=taxonomy.to_dict(),
        models=[],
    )
    merge_plan(run, frames, info)
    job = Job(run, Path(info.dataroot), config, taxonomy, FINGERPRINT, tuple(frames))
    middle = more.get("stages") or [Tiles(len(taxonomy))]
    stages = [LoadFrame(job.root), ProjectPoints(config), *middle, VoteLabels(config, taxonomy)]  # type: ignore[misc]
    for begin in range(0, len(frames), 2):
        commit(job, [run_steps(stages, FrameTask(frame)) for frame in frames[begin : begin + 2]])
    build_index(run)
    return run
