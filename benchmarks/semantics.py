"""All modes of region semantics on true masks and on SAM's: what regions and points are named, and how fast.

Frames of validation cities with the small models. Beside the modes stands CLIP without regions: every point
takes the class of its pixel, by the map of ``maskclip``. Times are of one image with 100 regions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import harness
import numpy as np
from harness import Claim, faster, interleave, score
from numpy.typing import NDArray
from oracle import FRAMES, PRESET, SEED

from labelgen.config import RunConfig, load_config
from labelgen.core.records import UNLABELLED, Regions, Semantics
from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.datasets import load_truth, plan_frames
from labelgen.demo.world import build
from labelgen.demo.world.truth import CityTruth
from labelgen.engine.steps import LoadFrame, ProjectPoints, VoteLabels
from labelgen.engine.task import FrameTask, run_steps
from labelgen.metrics import SegmentationScore
from labelgen.metrics.oracle import true_regions, true_semantics
from labelgen.regions import frame_prompts, join_cameras, make_proposer
from labelgen.semantics.assignment import pixel_classes
from labelgen.semantics.openclip import OpenClipEncoder, load_open_clip

#: Rows of the table: settings of `OpenClipSettings`. RSA asks the map alone, which these modes share.
ROWS = {
    "crop": {"mode": "crop"},
    "maskclip": {"mode": "maskclip"},
    "maskattn": {"mode": "maskattn"},
    "pool": {"mode": "pool"},
    "rsa": {"mode": "pool", "assignment": "rsa"},
}
REGIONS = 100  #: of the image that is timed
SMALLEST = 400  #: pixels of a region that counts


@dataclass
class PointCounts:
    """What one mode makes of one kind of masks."""

    points: SegmentationScore
    right: list[NDArray[np.bool_]] = field(default_factory=list)

    def regions(self, got: NDArray[np.uint8], known: Semantics, regions: Regions) -> None:
        """Count the regions of some size that show a class."""
        counted = (known.label != UNLABELLED) & (regions.area >= SMALLEST)
        self.right.append((got == known.label)[counted])

    @property
    def accuracy(self) -> float:
        """Share of the regions that are named right."""
        return float(np.concatenate(self.right).mean()) if self.right else float("nan")


def run(quick: bool) -> list[Claim]:
    preset = load_config(PRESET)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(
            root,
            scenes=1 if quick else 5,
            frames=1 if quick else FRAMES,
            seed=SEED,
            image_size=(1600, 900),
        )
        return measure(root, preset, seconds=2 if quick else 20)


def measure(root: Path, preset: RunConfig, seconds: float) -> list[Claim]:
    """Claims from a city on disk."""
    taxonomy = load_taxonomy(preset.taxonomy)
    model = load_open_clip(preset.semantics.model, preset.semantics.checkpoint)
    encoders = {
        name: OpenClipEncoder(preset.semantics.model_copy(update=row), device="cpu", model=model)
        for name, row in ROWS.items()
    }
    tallies: dict[tuple[str, str], PointCounts] = {}
    timed: tuple[NDArray[np.uint8], Regions] | None = None
    for task, expected, masks, known in frames(root, preset, taxonomy):
        images, voter = task.decode(), VoteLabels(preset, taxonomy)
        per_pixel = pixelwise(encoders["maskclip"], images, taxonomy)
        for kind, regions in masks.items():
            named = {name: encoder.encode(images, regions, taxonomy) for name, encoder in encoders.items()}
            for name, (where, what) in {
                **{name: (regions, semantics) for name, semantics in named.items()},
                "per_pixel": per_pixel,
            }.items():
                tally = tallies.setdefault((kind, name), PointCounts(SegmentationScore(taxonomy.names)))
                if name in named:
                    tally.regions(what.label, known[kind], where)
                task.regions, task.semantics = where, what
                voter(task)
                assert task.labels is not None
                tally.points.update(expected, task.labels.label)
        if timed is None and images[1] is not None:
            timed = images[1], some_regions(masks["sam"], camera=1)
    assert timed is not None
    return [*quality(tallies), *speed(encoders, timed, taxonomy, seconds)]


def frames(
    root: Path, preset: RunConfig, taxonomy: Taxonomy
) -> Iterator[tuple[FrameTask, NDArray[np.uint8], dict[str, Regions], dict[str, Semantics]]]:
    """Every frame with its points' classes, its true and proposed masks, and the masks' true classes."""
    found, info = plan_frames("nuscenes", root, "v1.0-mini")
    table, city = taxonomy.train_id_table(info.categories), CityTruth(root, info, taxonomy)
    proposer = make_proposer(preset.regions.model_copy(update={"superpixel_score": 0.0}), "cpu", 1)
    steps = [LoadFrame(root), ProjectPoints(preset)]
    for frame in found:
        task = run_steps(steps, FrameTask(frame))
        assert task.cloud is not None, task.failure
        assert task.views is not None, task.failure
        truth = city.frame(frame)
        prompts = frame_prompts(task.views, [camera.image_path for camera in frame.cameras])
        masks = {
            "true": true_regions(truth.objects),
            "sam": join_cameras(proposer.propose_frame(task.decode(), prompts)),
        }
        known = {kind: true_semantics(m, truth.classes, len(taxonomy)) for kind, m in masks.items()}
        yield task, load_truth(root, frame, table, len(task.cloud)), masks, known


def pixelwise(
    encoder: OpenClipEncoder, images: list[NDArray[np.uint8] | None], taxonomy: Taxonomy
) -> tuple[Regions, Semantics]:
    """Each image's pixels by class as regions with that class: every point takes that of its pixel."""
    vocabulary = encoder.vocabulary(taxonomy)
    classes = [None if dense is None else pixel_classes(dense, vocabulary) for dense in encoder.dense(images)]
    regions = true_regions(classes)
    return regions, true_semantics(regions, classes, len(taxonomy))


def some_regions(regions: Regions, camera: int) -> Regions:
    """`REGIONS` regions of one camera, repeated if there are fewer, as those of a frame with one image."""
    rows = np.resize(np.arange(len(regions))[regions.camera_slice(camera)], REGIONS)
    return Regions(
        camera=np.zeros(REGIONS, np.uint8),
        box_xyxy=regions.box_xyxy[rows],
        area=regions.area[rows],
        score=regions.score[rows],
        stability=regions.stability[rows],
        rle=tuple(regions.rle[row] for row in rows),
    )


def quality(tallies: dict[tuple[str, str], PointCounts]) -> list[Claim]:
    """The table, and how far regions are above single pixels."""
    results = {key: tally.points.result() for key, tally in tallies.items()}
    claims = [
        score(
            f"miou_{kind}_masks_{name}",
            results[kind, name]["miou"],
            goal=None,
            unit="mIoU",
            agreement={
                "regions_right": tallies[kind, name].accuracy,
                "coverage": results[kind, name]["coverage"],
            },
        )
        for kind, name in tallies
    ]
    for kind in ("true", "sam"):
        best = max(("maskattn", "rsa"), key=lambda name: results[kind, name]["miou"])
        gain = results[kind, best]["miou"] - results[kind, "per_pixel"]["miou"]
        claims.append(
            score(
                f"{kind}_masks_over_pixels",
                100 * gain,
                goal=8.0,
                unit="points of mIoU",
                agreement={"best": best},
            )
        )
    return claims


def speed(
    encoders: dict[str, OpenClipEncoder],
    timed: tuple[NDArray[np.uint8], Regions],
    taxonomy: Taxonomy,
    seconds: float,
) -> list[Claim]:
    """Time of one core for one image with `REGIONS` regions, against crops."""
    image, regions = timed
    times = interleave(
        {
            name: lambda encoder=encoder: encoder.encode([image], regions, taxonomy)  # type: ignore[misc]
            for name, encoder in encoders.items()
        },
        seconds=seconds,
        min_rounds=3,
        warmup=1,
        cpu_time=True,
    )
    goals = {"maskattn": 5.0, "rsa": 5.0}
    return [
        faster(f"time_{name}", times[name], times["crop"], goal=goals.get(name))
        for name in encoders
        if name != "crop"
    ]


if __name__ == "__main__":
    harness.main("semantics", __doc__, run)
