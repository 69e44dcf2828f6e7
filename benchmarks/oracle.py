"""Where the main job's quality is lost: each stage in turn replaced by the simulated city's truth.

Ten frames of validation cities, labelled with the demo preset. Beside the run as it is stand its parts
(SAM's masks alone, superpixels alone), true masks with the small CLIP's classes, true classes of the
regions that are proposed, and everything true.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import harness
import numpy as np
from harness import Claim, score
from numpy.typing import NDArray
from PIL import Image

from labelgen.config import RunConfig, load_config
from labelgen.datasets import load_truth, plan_frames
from labelgen.frame import Frame
from labelgen.metrics import SegmentationScore
from labelgen.metrics.oracle import true_regions, true_semantics, with_true_visibility
from labelgen.records import Regions, Semantics, Views
from labelgen.regions import frame_prompts, join_cameras, make_proposer
from labelgen.semantics import make_encoder
from labelgen.taxonomy import Taxonomy, load_taxonomy
from labelgen.world import CAMERA_NAMES, VAL_SEEDS, build
from labelgen.world.visibility import SEEN
from pipelines.stages import FrameTask, VoteLabels, load_stages, run_stages

PRESET = Path(__file__).resolve().parents[1] / "pipelines" / "configs" / "demo.yaml"
SEED = VAL_SEEDS.start + 60_000
FRAMES = 2  #: of each scene


@dataclass(frozen=True)
class Truth:
    """What the city knows of one frame: object and class of every pixel, and what each camera sees."""

    objects: list[NDArray[np.int64]]
    classes: list[NDArray[np.int64]]
    seen: NDArray[np.bool_]


def run(quick: bool) -> list[Claim]:
    preset = load_config(PRESET)
    taxonomy = load_taxonomy(preset.taxonomy)
    scores: dict[str, SegmentationScore] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(root, scenes=1 if quick else 5, frames=FRAMES, seed=SEED, image_size=(1600, 900))
        for name, truth, labels in labelled(root, preset, taxonomy):
            scores.setdefault(name, SegmentationScore(taxonomy.names)).update(truth, labels)
    results = {name: score_of.result() for name, score_of in scores.items()}
    goals = {"run": 0.55}
    return [
        score(
            f"miou_{name}",
            result["miou"],
            goal=goals.get(name),
            unit="mIoU",
            agreement={"miou_all": result["miou_all"], "coverage": result["coverage"]},
        )
        for name, result in results.items()
    ]


def labelled(
    root: Path, preset: RunConfig, taxonomy: Taxonomy
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(rung, truth, labels) of every frame and rung."""
    frames, info = plan_frames("nuscenes", root, "v1.0-mini")
    table = taxonomy.train_id_table(info.categories)
    configs = {
        "run": preset.regions,
        "sam": preset.regions.model_copy(update={"superpixel_score": 0.0}),
        "superpixels": preset.regions.model_copy(update={"backend": "superpixel"}),
    }
    proposers = {name: make_proposer(config, "cpu", 1) for name, config in configs.items()}
    encoder = make_encoder(preset.semantics, "cpu", 1)
    voter, tokens = VoteLabels(preset, taxonomy), tokens_of(root)
    stages = load_stages(root, preset)
    for frame in frames:
        task = run_stages(stages, FrameTask(frame))
        assert task.cloud is not None, task.failure
        assert task.views is not None, task.failure
        images, truth = task.decode(), read_truth(root, frame, tokens, table)
        expected = load_truth(root, frame, table, len(task.cloud))
        prompts = frame_prompts(task.views, [camera.image_path for camera in frame.cameras])
        masks = {
            name: join_cameras(proposer.propose_frame(images, prompts))
            for name, proposer in proposers.items()
        }
        masks["true"] = true_regions(truth.objects)
        known = {name: true_semantics(masks[name], truth.classes, len(taxonomy)) for name in ("run", "true")}
        named = {name: encoder.encode(images, r, taxonomy) for name, r in masks.items()}
        visible = with_true_visibility(task.views, truth.seen)
        rungs: dict[str, tuple[Views, Regions, Semantics]] = {
            "run": (task.views, masks["run"], named["run"]),
            "sam": (task.views, masks["sam"], named["sam"]),
            "superpixels": (task.views, masks["superpixels"], named["superpixels"]),
            "true_classes": (task.views, masks["run"], known["run"]),
            "true_masks": (task.views, masks["true"], named["true"]),
            "true_masks_and_classes": (task.views, masks["true"], known["true"]),
            "all_true": (visible, masks["true"], known["true"]),
        }
        for name, (task.views, task.regions, task.semantics) in rungs.items():
            voter(task)
            assert task.labels is not None
            yield name, expected, task.labels.label


def tokens_of(root: Path) -> dict[str, str]:
    """{file: sample_data token}: the city's finer truth is filed by token."""
    rows = json.loads((root / "v1.0-mini" / "sample_data.json").read_text())
    return {row["filename"]: row["token"] for row in rows}


def read_truth(root: Path, frame: Frame, tokens: dict[str, str], table: NDArray[np.uint8]) -> Truth:
    """Truth of one frame, in the order of its cameras."""

    def pixels(kind: str, camera: str, image_path: str) -> NDArray[np.int64]:
        picture = Image.open(root / "truth" / kind / camera / f"{tokens[image_path]}.png")
        return np.asarray(picture).astype(np.int64)

    lookup = np.full(256, 255, np.int64)  # sky has no category, and no class
    lookup[: len(table)] = table
    with np.load(root / "truth" / "visibility" / f"{tokens[frame.lidar_path]}.npz") as content:
        bits = content["bits"]
    columns = [CAMERA_NAMES.index(camera.name) for camera in frame.cameras]
    return Truth(
        objects=[pixels("object", camera.name, camera.image_path) for camera in frame.cameras],
        classes=[lookup[pixels("category", camera.name, camera.image_path)] for camera in frame.cameras],
        seen=(bits[:, columns] & SEEN) > 0,
    )


if __name__ == "__main__":
    harness.main("oracle", __doc__, run)
