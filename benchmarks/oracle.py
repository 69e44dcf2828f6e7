"""Where the main job's quality is lost: each stage in turn replaced by the simulated city's truth.

Ten frames of validation cities, labelled with the demo preset. Beside the run as it is stand its parts
(SAM's masks alone, superpixels alone), votes that weigh nothing, true masks with the small CLIP's classes,
true classes of the regions that are proposed, and everything true, with and without the depth test. Claims:
- ``miou_run``: of the default run; at least 0.55. ``miou_plain_votes``: without weights; ours is not worse.
- ``right_true``: share of right labels, with true masks and classes, of points that a camera truly sees; at
  least 0.97. ``depth_test``: mIoU that the depth test is worth there; at least 0.03.
- ``ece_run``: calibration error of the default run, calibrated on other scenes; at most 0.05.

`labelgen evaluate RUN --ladder` is the same for a run of one's own, with fusion and AFI at its end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import harness
import numpy as np
from harness import Claim, score
from numpy.typing import NDArray

from labelgen.config import LabelSection, RunConfig, load_config
from labelgen.core.records import PointLabels, Regions, Semantics, Views
from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.datasets import load_truth, plan_frames
from labelgen.demo.ladder import Rung
from labelgen.demo.world import VAL_SEEDS, build
from labelgen.demo.world.truth import CityTruth
from labelgen.engine.steps import LoadFrame, ProjectPoints, VoteLabels
from labelgen.engine.task import FrameTask, run_steps
from labelgen.labels.calibrate import fit
from labelgen.metrics import ConfidenceScore
from labelgen.metrics.oracle import true_regions, true_semantics, with_true_visibility
from labelgen.regions import frame_prompts, join_cameras, make_proposer
from labelgen.semantics import make_encoder

PRESET = "demo"
SEED = VAL_SEEDS.start + 60_000
FRAMES = 2  #: of each scene


class Labelled(NamedTuple):
    """Labels of one frame on one rung."""

    rung: str
    scene: str
    truth: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    labels: PointLabels


def run(quick: bool) -> list[Claim]:
    """Label, and compare the rungs."""
    preset = load_config(PRESET)
    taxonomy = load_taxonomy(preset.taxonomy)
    rungs: dict[str, Rung] = {}
    of_run: list[Labelled] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(root, scenes=2 if quick else 5, frames=FRAMES, seed=SEED, image_size=(1600, 900))
        for one in labelled(root, preset, taxonomy):
            rungs.setdefault(one.rung, Rung(taxonomy.names)).update(one.truth, one.labels.label, one.seen)
            if one.rung == "run":
                of_run.append(one)
    results = {name: rung.result() for name, rung in rungs.items()}
    goals = {"run": 0.55}
    claims = []
    for name, result in results.items():
        beside = {key: value for key, value in result.items() if key != "miou"}
        claims.append(
            score(f"miou_{name}", result["miou"], goal=goals.get(name), unit="mIoU", agreement=beside)
        )
    weighed, plain = results["run"]["miou"], results["plain_votes"]["miou"]
    tested, untested = results["true"]["miou"], results["untested"]["miou"]
    before, after, rises = calibrated(of_run)
    return [
        *claims,
        score("weighed_votes", weighed, baseline=plain, goal=1.0, unit="mIoU"),
        score("right_true", results["true"]["right"], goal=0.97, unit="share"),
        score("depth_test", tested - untested, goal=0.03, unit="mIoU gained"),
        score(
            "ece_run",
            after,
            goal=0.05,
            unit="error",
            lower_is_better=True,
            agreement={"uncalibrated": before, "rises_with_every_decile": rises},
        ),
    ]


def calibrated(frames: list[Labelled]) -> tuple[float, float, bool]:
    """Calibration error without and with calibration on the frames of other scenes; whether deciles rise."""
    before, after = ConfidenceScore(), ConfidenceScore()
    for scene in {one.scene for one in frames}:
        learnt = ConfidenceScore()
        for one in frames:
            if one.scene != scene:
                learnt.update(one.truth, one.labels.label, one.labels.confidence)
        calibration = fit(learnt.counts, learnt.right)
        for one in frames:
            if one.scene == scene:
                for total, labels in ((before, one.labels), (after, calibration(one.labels))):
                    total.update(one.truth, labels.label, labels.confidence)
    return before.result()["ece"], after.result()["ece"], before.result()["rises"]


def labelled(root: Path, preset: RunConfig, taxonomy: Taxonomy) -> Iterator[Labelled]:
    """Every frame on every rung."""
    frames, info = plan_frames("nuscenes", root, "v1.0-mini")
    table = taxonomy.train_id_table(info.categories)
    configs = {
        "run": preset.regions,
        "sam": preset.regions.model_copy(update={"superpixel_score": 0.0}),
        "superpixels": preset.regions.model_copy(update={"backend": "superpixel"}),
    }
    proposers = {name: make_proposer(config, "cpu", 1) for name, config in configs.items()}
    encoder = make_encoder(preset.semantics, "cpu", 1)
    nothing = dict.fromkeys(("class_margin", "edge", "residual", "angle"), 0.0)
    plain = preset.model_copy(update={"labels": LabelSection.model_validate(nothing)})
    voters = {name: VoteLabels(config, taxonomy) for name, config in (("", preset), ("plain_votes", plain))}
    city = CityTruth(root, info, taxonomy)
    steps = [LoadFrame(root), ProjectPoints(preset)]
    for frame in frames:
        task = run_steps(steps, FrameTask(frame))
        assert task.cloud is not None, task.failure
        assert task.views is not None, task.failure
        images, truth = task.decode(), city.frame(frame)
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
        untested = replace(task.views, visible=np.ones(len(task.views), np.bool_))
        rungs: dict[str, tuple[Views, Regions, Semantics]] = {
            "run": (task.views, masks["run"], named["run"]),
            "plain_votes": (task.views, masks["run"], named["run"]),
            "sam": (task.views, masks["sam"], named["sam"]),
            "superpixels": (task.views, masks["superpixels"], named["superpixels"]),
            "true_classes": (task.views, masks["run"], known["run"]),
            "true_masks": (task.views, masks["true"], named["true"]),
            "true": (task.views, masks["true"], known["true"]),
            "untested": (untested, masks["true"], known["true"]),
            "projection": (visible, masks["true"], known["true"]),
        }
        for name, (task.views, task.regions, task.semantics) in rungs.items():
            voters.get(name, voters[""])(task)
            assert task.labels is not None
            yield Labelled(name, frame.scene_id, expected, truth.seen.any(axis=1), task.labels)


if __name__ == "__main__":
    harness.main("oracle", __doc__, run)
