"""Scores against nuscenes-devkit's own evaluators: the same numbers, and how long they take.

Random labels of 40 frames of 35k points. Claims:
- ``lidarseg_equal``, ``panoptic_equal``: largest difference between any of the numbers; at most 1e-9.
- ``lidarseg_scores``, ``panoptic_scores``: time for all frames, theirs over ours.
"""

from __future__ import annotations

import harness
import numpy as np
from nuscenes.eval.lidarseg.utils import ConfusionMatrix
from nuscenes.eval.panoptic.panoptic_seg_evaluator import PanopticEval

from labelgen.core.taxonomy import load_taxonomy
from labelgen.metrics import PanopticScore, SegmentationScore

TAXONOMY = load_taxonomy("nuscenes16")
THINGS = [spec.thing for spec in TAXONOMY.classes]
Frames = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def made(count: int) -> Frames:
    """Truth and prediction with instances; pieces of a thing change together, so that some match."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        piece = np.sort(rng.integers(0, 60, 35_000))
        truth = rng.integers(0, 14, 60)[piece].astype(np.uint8)  # two classes are absent
        numbers = np.arange(60)[piece] % 7 + 1000 * truth.astype(np.int64)
        prediction, instance = truth.copy(), numbers + 1
        changed = rng.random(35_000) < rng.choice([0.0, 0.2, 0.7], 60)[piece]
        prediction[changed] = rng.integers(0, 16, int(changed.sum()))
        truth[rng.random(35_000) < 0.1] = 255
        instance[~np.array(THINGS)[prediction]] = 0
        out.append((truth, numbers, prediction, instance))
    return out


def ours_points(frames: Frames) -> SegmentationScore:
    score = SegmentationScore(TAXONOMY.names)
    for truth, _, prediction, _ in frames:
        score.update(truth, prediction)
    return score


def devkit_points(frames: Frames) -> ConfusionMatrix:
    score = ConfusionMatrix(17, 0)
    for truth, _, prediction, _ in frames:
        score.update(np.where(truth == 255, 0, truth + 1), prediction.astype(np.int64) + 1)
    return score


def ours_segments(frames: Frames) -> PanopticScore:
    score = PanopticScore(TAXONOMY.names, THINGS, 15)
    for one in frames:
        score.update(*one)
    return score


def devkit_segments(frames: Frames) -> PanopticEval:
    score = PanopticEval(17, ignore=[0], min_points=15)
    for truth, numbers, prediction, instance in frames:
        classes = [np.where(ids == 255, 0, ids.astype(np.int64) + 1) for ids in (prediction, truth)]
        score.addBatch(classes[0], instance, classes[1], numbers)
    return score


def run(quick: bool) -> list[harness.Claim]:
    """Compare numbers, then times."""
    frames = made(5 if quick else 40)
    points, theirs = ours_points(frames), devkit_points(frames)
    expected = np.array(theirs.get_per_class_iou()[1:], np.float64)
    mine = np.array([np.nan if v is None else v for v in points.protocols()["devkit"]["iou"].values()])
    apart = np.nanmax(np.abs(mine - expected))
    apart = max(apart, abs(points.protocols()["devkit"]["miou"] - theirs.get_mean_iou()))
    same_gaps = bool((np.isnan(mine) == np.isnan(expected)).all())

    segments, other = ours_segments(frames).result(), devkit_segments(frames)
    pq, sq, rq, *per_class = other.getPQ()
    differences = [
        abs(segments[key] - value) for key, value in zip(("pq", "sq", "rq"), (pq, sq, rq), strict=True)
    ]
    for key, values in zip(("pq", "sq", "rq"), per_class, strict=True):
        found = [one[key] for one in segments["classes"].values()]
        differences.append(float(np.abs(np.array(found) - values[1:]).max()))

    times = harness.interleave(
        {
            f.__name__: (lambda f=f: f(frames))
            for f in (ours_points, devkit_points, ours_segments, devkit_segments)
        },
        seconds=10 if quick else 30,
        min_rounds=3,
    )
    gaps = {"same_absent_classes": same_gaps}
    return [
        harness.score(
            "lidarseg_equal", float(apart), goal=1e-9, unit="IoU", lower_is_better=True, agreement=gaps
        ),
        harness.score("panoptic_equal", float(max(differences)), goal=1e-9, unit="PQ", lower_is_better=True),
        harness.faster(
            "lidarseg_scores", times["ours_points"], times["devkit_points"], goal=1.0, valid=same_gaps
        ),
        harness.faster("panoptic_scores", times["ours_segments"], times["devkit_segments"], goal=1.0),
    ]


if __name__ == "__main__":
    harness.main("evaluators", __doc__, run)
