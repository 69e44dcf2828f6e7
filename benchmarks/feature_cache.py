"""What is cached of the semantics, and what can be made of it without a GPU.

A run of the simulated city's validation seeds, labelled with the demo preset, captions included:

- ``cache_masks``: megabytes a frame of the features of SAM's masks, with all that expands them to points
  (the views), against float16 features of the same width for every point; at least 15 times smaller.
  A feature counts with the bytes that it takes on disk (``semantics.feature_bits``).
  ``cache_regions``: the same with the superpixels that the demo's weak masks need beside them;
  ``cache_regions_512``: so many with features 512 wide, as real CLIPs have; at least 15 times smaller.
- ``prompts_*``: mIoU of points with classes from templates, captions, or both.

And of more than a hundred single images of validation cities with true masks:

- ``retrieval``: mIoU of pixels after retrieval over all images, and before; not lower.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Claim, score

from labelgen.config import load_config
from labelgen.core.records import FrameRecord, Regions, Semantics
from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.world import CLASS_OF_CATEGORY, VAL_SEEDS, build, sample_views
from labelgen.engine.labelling import label_plan
from labelgen.engine.planning import Request, make_plan
from labelgen.engine.relabel import plan_relabel
from labelgen.engine.voting import vote_settings
from labelgen.labels.retrieval import RetrievalSettings, build_bank, retrieve
from labelgen.labels.revote import Ballot
from labelgen.metrics import SegmentationScore
from labelgen.metrics.oracle import true_regions, true_semantics
from labelgen.runs import Run, open_run
from labelgen.semantics import make_encoder
from labelgen.semantics.strategies import Strategy, caption_temperature

PRESET = "demo"
SEED = VAL_SEEDS.start + 60_000
#: Scenes, and frames of each.
QUICK, FULL = (1, 1), (4, 2)
#: Of the short trial: fewer masks, one look at each image, few captions.
LIGHT = ("regions.crop_layers=0", "semantics.mode=pool", "semantics.caption_regions=4")
#: Images that retrieval asks.
IMAGES = 16, 240


def run(quick: bool) -> list[Claim]:
    scenes, frames = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        made = labelled(Path(folder), scenes, frames, LIGHT if quick else ())
        return [*cache(made), *strategies(made), retrieval(IMAGES[not quick])]


def labelled(folder: Path, scenes: int, frames: int, changes: tuple[str, ...]) -> Run:
    """A run with captions of a city, both below a folder."""
    build(folder / "city", scenes=scenes, frames=frames, seed=SEED, image_size=(1600, 900))
    overrides = ("dataset=nuscenes", "semantics.captions=blip2", "runtime.runner=sequential", *changes)
    plan = make_plan(
        Request(
            dataroot=folder / "city",
            version="v1.0-mini",
            config=str(PRESET),
            overrides=overrides,
            output=folder / "run",
        )
    )
    label_plan(plan)
    return open_run(folder / "run")


def cache(made: Run) -> Iterator[Claim]:
    """Bytes of what a point's feature is made of, for all regions and for the masks of SAM alone."""
    names = ("views/point", "views/region", "views/visible", "frame/region_offsets")
    views = sum(manifest.arrays[name].size for manifest in made.manifests for name in names)
    points = sum(made.entry(frame_id).num_points for frame_id in made.frames)
    own = made.frame(made.frames[0]).semantics.feature.shape[1]
    superpixels = np.float16(made.info.config["regions"]["superpixel_score"])
    score_of = np.concatenate([made.frame(frame_id).regions.score for frame_id in made.frames])
    masks = int((score_of != superpixels).sum())
    stored = sum(manifest.arrays["regions/feature"].size for manifest in made.manifests)
    number = stored / (len(score_of) * own)  # bytes of one
    for name, count, width, goal in (
        ("cache_masks", masks, own, 15.0),
        ("cache_regions", len(score_of), own, None),
        ("cache_regions_512", len(score_of), 512, 15.0),
    ):
        yield score(
            name,
            (views + number * width * count) / len(made) / 1e6,
            goal=goal,
            unit="MB/frame",
            baseline=2 * width * points / len(made) / 1e6,
            lower_is_better=True,
            agreement={
                "width": width,
                "regions/frame": round(count / len(made)),
                "bytes/number": number,
            },
        )


def strategies(made: Run) -> Iterator[Claim]:
    """mIoU by what the classes are read from."""
    taxonomy = made.taxonomy
    operation, _ = plan_relabel(made, replace(taxonomy, name="again"))
    names: tuple[Strategy, ...] = ("template", "caption", "both")
    results = {name: SegmentationScore(taxonomy.names) for name in names}
    for frame_id in made.frames:
        frame = made.frame(frame_id)
        record, truth = frame.record(), frame.truth
        for name, result in results.items():
            warm = caption_temperature(None, name, operation.temperature)
            alike = replace(operation, strategy=name, caption_temperature=warm)
            semantics = alike.classify(record.semantics)
            result.update(truth, ballot(made, replace(record, semantics=semantics), frame.planned.cameras))
    found = {name: result.result() for name, result in results.items()}
    alone = max(found["template"]["miou"], found["caption"]["miou"])
    for name, result in found.items():
        yield score(
            f"prompts_{name}",
            result["miou"],
            goal=1.0 if name == "both" else None,
            unit="mIoU",
            baseline=alone if name == "both" else None,
            agreement={"miou_all": result["miou_all"], "frames": len(made)},
        )


def retrieval(images: int) -> Claim:
    """mIoU of pixels under true masks, before and after."""
    config, taxonomy = load_config(PRESET).semantics, load_taxonomy("nuscenes16")
    encoder = make_encoder(config, "cpu", 1)
    seen: list[tuple[str, Regions, Semantics, Semantics]] = []
    for _, view in sample_views(VAL_SEEDS, count=images, image_size=(800, 450), rng_seed=5):
        classes = CLASS_OF_CATEGORY[view.category].astype(np.int64) - 1
        regions = true_regions([view.object_id])
        found = encoder.encode([view.rgb], regions, taxonomy)
        seen.append((f"image-{len(seen)}", regions, found, true_semantics(regions, [classes], len(taxonomy))))
    bank = build_bank(((name, found) for name, _, found, _ in seen), 65536)
    before, after = SegmentationScore(taxonomy.names), SegmentationScore(taxonomy.names)
    for name, regions, found, truth in seen:
        _, label = retrieve(bank, found, name, RetrievalSettings())
        real = np.repeat(truth.label, regions.area)
        before.update(real, np.repeat(found.label, regions.area))
        after.update(real, np.repeat(label, regions.area))
    result = after.result()
    return score(
        "retrieval",
        result["miou"],
        goal=1.0,
        unit="mIoU",
        baseline=before.result()["miou"],
        agreement={"images": len(seen), "regions": len(bank)},
    )


def ballot(made: Run, record: FrameRecord, cameras: Any) -> np.ndarray:
    return Ballot(record, cameras, *vote_settings(made), keep_visible=True).labels().label


if __name__ == "__main__":
    harness.main("feature_cache", __doc__, run)
