"""Panoptic quality against nuscenes-devkit's evaluator and against the definition, segment by segment."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.eval.panoptic.panoptic_seg_evaluator import PanopticEval

from labelgen.metrics import PanopticScore

C = 6
NAMES = [f"class{k}" for k in range(C)]
THINGS = [True] * 4 + [False] * 2
NOVEL = (1, 2, 5)
GROUPS = {
    "all": range(C),
    "things": range(4),
    "stuff": [4, 5],
    "base things": [0, 3],
    "base stuff": [4],
    "novel things": [1, 2],
    "novel stuff": [5],
}


def scene(rng: np.random.Generator, n: int, gaps: float) -> tuple[np.ndarray, ...]:
    """Truth and a prediction that is truth with pieces changed, so that some segments match."""
    used = rng.permutation(C)[: rng.integers(1, C + 1)]
    piece = rng.integers(0, max(1, n // 12) + 1, n)  # points of one piece change together
    per_piece = rng.choice(used, piece.max() + 1)
    truth = per_piece[piece].astype(np.uint8)
    truth_instance = rng.integers(0, 3, piece.max() + 1)[piece]
    truth_instance = truth_instance + 1000 * truth  # as nuScenes stores them
    prediction, instance = truth.copy(), (7 - truth_instance) % 5
    for part in range(int(piece.max()) + 1):
        mine = (piece == part) & (rng.random(n) < rng.choice([0.0, 0.2, 0.6]))
        prediction[mine] = rng.integers(0, C)
        instance[mine] = rng.integers(0, 4)
    truth = np.where(rng.random(n) < 0.15, 255, truth).astype(np.uint8)
    prediction = np.where(rng.random(n) < gaps, 255, prediction).astype(np.uint8)
    instance = np.where(prediction < 4, instance, 0)  # of things, as in the devkits' files
    return truth, truth_instance, prediction, instance


def ours(scenes, min_points):
    score = PanopticScore(NAMES, THINGS, min_points)
    for one in scenes:
        score.update(*one)
    return score.result(NOVEL)


def literal(scenes, min_points):
    """Every pair of segments, as sets of points, straight from the definition."""
    tp, fp, fn, overlap = ([0] * C for _ in range(4))
    hit, given_, there = [0] * C, [0] * C, [0] * C
    for truth, truth_instance, prediction, instance in scenes:
        true: dict[tuple[int, int], set[int]] = {}
        mine: dict[tuple[int, int], set[int]] = {}
        for i in range(len(truth)):
            if truth[i] == 255:
                continue
            true.setdefault((int(truth[i]), int(truth_instance[i])), set()).add(i)
            there[truth[i]] += 1
            if prediction[i] != 255:
                mine.setdefault((int(prediction[i]), int(instance[i])), set()).add(i)
                given_[prediction[i]] += 1
                hit[truth[i]] += int(prediction[i] == truth[i])
        matched = set()
        for (kind, number), points in true.items():
            for other, theirs in mine.items():
                iou = len(points & theirs) / len(points | theirs)
                if other[0] == kind and iou > 0.5:
                    tp[kind] += 1
                    overlap[kind] += iou
                    matched |= {("true", kind, number), ("mine", *other)}
        for key, points in true.items():
            fn[key[0]] += ("true", *key) not in matched and len(points) >= min_points
        for key, points in mine.items():
            fp[key[0]] += ("mine", *key) not in matched and len(points) >= min_points
    sq = [o / t if t else 0.0 for o, t in zip(overlap, tp, strict=True)]
    rq = [t / (t + p / 2 + n / 2) if t + p + n else 0.0 for t, p, n in zip(tp, fp, fn, strict=True)]
    iou = [h / (a + b - h) if a + b else 0.0 for h, a, b in zip(hit, given_, there, strict=True)]
    pq = [a * b for a, b in zip(sq, rq, strict=True)]
    dagger = [pq[k] if THINGS[k] else iou[k] for k in range(C)]
    return pq, sq, rq, sum(dagger) / C


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 3),
    gaps=st.sampled_from([0.0, 0.3, 1.0]),
    min_points=st.sampled_from([1, 5, 15]),
)
def test_equals_the_devkit_and_the_definition(seed, frames, gaps, min_points):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, int(rng.integers(1, 160)), gaps) for _ in range(frames)]
    found = ours(scenes, min_points)

    theirs = PanopticEval(C + 1, ignore=[0], min_points=min_points)
    for truth, truth_instance, prediction, instance in scenes:
        classes = [np.where(ids == 255, 0, ids.astype(np.int64) + 1) for ids in (prediction, truth)]
        theirs.addBatch(classes[0], instance.astype(np.int64), classes[1], truth_instance.astype(np.int64))
    pq, sq, rq, all_pq, all_sq, all_rq = theirs.getPQ()
    _, all_iou = theirs.getSemIoU()
    dagger = np.mean([*all_pq[1:5], *all_iou[5:]])
    assert [found[key] for key in ("pq", "sq", "rq")] == pytest.approx([pq, sq, rq], abs=1e-9)
    assert found["pq_dagger"] == pytest.approx(dagger, abs=1e-9)

    expected = literal(scenes, min_points)
    assert found["pq_dagger"] == pytest.approx(expected[3], abs=1e-9)
    for key, theirs_, mine in zip(("pq", "sq", "rq"), (all_pq, all_sq, all_rq), expected, strict=False):
        values = [one[key] for one in found["classes"].values()]
        assert values == pytest.approx(list(theirs_[1:]), abs=1e-9)
        assert values == pytest.approx(mine, abs=1e-9)
    for group, chosen in GROUPS.items():
        rows = [k + 1 for k in chosen]
        means = [all_pq[rows].mean(), all_sq[rows].mean(), all_rq[rows].mean(), all_iou[rows].mean()]
        theirs_ = [float(all_pq[k] if k <= 4 else all_iou[k]) for k in rows]
        mine = found["groups"][group]
        assert [mine[key] for key in ("pq", "sq", "rq", "miou")] == pytest.approx(means, abs=1e-9)
        assert mine["pq_dagger"] == pytest.approx(np.mean(theirs_), abs=1e-9)
        there = [k - 1 for k in rows if theirs.pan_tp[k] + theirs.pan_fp[k] + theirs.pan_fn[k]]
        assert (mine["classes"], mine["present"]) == (len(rows), len(there))
        if there:
            assert mine["pq_present"] == pytest.approx(all_pq[[k + 1 for k in there]].mean(), abs=1e-9)
        else:
            assert mine["pq_present"] is None
    assert list(found["groups"]) == list(GROUPS)
    assert found["miou"] == found["groups"]["all"]["miou"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_groups_without_classes_have_no_mean():
    score = PanopticScore(NAMES, [True] * C, 15)
    assert set(score.result()["groups"]) == {"all", "things", "stuff"}
    assert score.result()["groups"]["stuff"]["pq"] is None
    none = score.result(novel=())["groups"]["novel things"]
    assert (none["pq"], none["miou"], none["classes"], none["present"]) == (None, None, 0, 0)


def test_truth_scores_one_and_small_segments_are_passed_over():
    truth = np.array([0] * 20 + [4] * 20, np.uint8)
    number = np.array([1] * 10 + [2] * 10 + [0] * 20)
    perfect = ours([(truth, number, truth, number + 5)], 15)
    counts = {"tp": 2, "fp": 0, "fn": 0}
    assert perfect["classes"]["class0"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "iou": 1.0, **counts}
    every = perfect["groups"]["all"]
    assert (every["classes"], every["present"], every["pq_present"]) == (C, 2, 1.0)
    assert perfect["pq"] == pytest.approx(2 / C)
    nothing = np.full(40, 255, np.uint8)
    missed = ours([(truth, number, nothing, number)], 15)["classes"]
    assert (missed["class0"]["fn"], missed["class4"]["fn"]) == (0, 1)
    assert ours([(truth, number, nothing, number)], 10)["classes"]["class0"]["fn"] == 2


def test_nothing_at_all_and_what_does_not_fit():
    empty = np.zeros(0, np.uint8)
    assert ours([(empty, empty, empty, empty)], 15)["pq"] == 0.0
    score = PanopticScore(NAMES, THINGS, 15)
    three = np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match="differ in length"):
        score.update(three, three[:2], three, three)
    with pytest.raises(ValueError, match="prediction holds class 9"):
        score.update(three, three, three + np.uint8(9), three)
    with pytest.raises(ValueError, match="things"):
        PanopticScore(NAMES, THINGS[:2], 15)


def test_merged_scores_are_one_score():
    rng = np.random.default_rng(3)
    scenes = [scene(rng, 120, 0.1) for _ in range(4)]
    parts = [PanopticScore(NAMES, THINGS, 5) for _ in range(2)]
    for number, one in enumerate(scenes):
        parts[number % 2].update(*one)
    parts[0].merge(parts[1])
    assert parts[0].result()["pq"] == pytest.approx(ours(scenes, 5)["pq"], abs=1e-12)
