"""Scores against their definition, counted point by point, and against nuscenes-devkit."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.eval.lidarseg.utils import ConfusionMatrix

from labelgen.metrics import SegmentationScore

NAMES = [f"class{k}" for k in range(16)]


def draw(rng: np.random.Generator, n: int, classes: int, gaps: float) -> np.ndarray:
    """Ids of a random part of the classes, some of them 255."""
    used = rng.permutation(classes)[: rng.integers(1, classes + 1)]
    return np.where(rng.random(n) < gaps, 255, rng.choice(used, n)).astype(np.uint8)


def score(truth, prediction, names=NAMES) -> dict:
    out = SegmentationScore(names)
    out.update(truth, prediction)
    return out.result()


def iou_by_definition(truth, prediction, keep: Callable[[int, int], bool]) -> dict[str, float | None]:
    pairs = [
        (t, p) for t, p in zip(truth.tolist(), prediction.tolist(), strict=True) if t != 255 and keep(t, p)
    ]
    out = {}
    for number, name in enumerate(NAMES):
        either = [pair for pair in pairs if number in pair]
        both = [pair for pair in either if pair == (number, number)]
        out[name] = len(both) / len(either) if either else None
    return out


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 120), gaps=st.sampled_from([0.0, 0.3, 1.0]))
def test_scores_are_those_of_the_definition(seed, n, gaps):
    rng = np.random.default_rng(seed)
    truth, prediction = draw(rng, n, 16, 0.2), draw(rng, n, 16, gaps)
    found = score(truth, prediction)
    assert found["iou_all"] == iou_by_definition(truth, prediction, lambda t, p: True)
    assert found["iou"] == iou_by_definition(truth, prediction, lambda t, p: p != 255)
    for key in ("iou", "iou_all"):
        values = [value for value in found[key].values() if value is not None]
        mean = found["m" + key]
        assert mean is None if not values else mean == pytest.approx(np.mean(values), abs=1e-12)
    known = truth != 255
    labelled = int((prediction[known] != 255).sum())
    assert (found["points"], found["labelled"]) == (int(known.sum()), labelled)
    assert found["coverage"] == (labelled / known.sum() if known.any() else None)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 4))
def test_equal_to_the_devkit_on_predictions_without_gaps(seed, frames):
    rng = np.random.default_rng(seed)
    ours, theirs = SegmentationScore(NAMES), ConfusionMatrix(17, ignore_idx=0)
    some = False
    for _ in range(frames):
        truth, prediction = draw(rng, 400, 16, 0.3), draw(rng, 400, 16, 0.0)
        some |= bool((truth != 255).any())
        ours.update(truth, prediction)
        theirs.update((truth + np.uint8(1)).astype(int), (prediction + np.uint8(1)).astype(int))
    found = ours.result()
    wanted = theirs.get_per_class_iou()[1:]
    for name, value in zip(NAMES, wanted, strict=True):
        assert (found["iou"][name] is None) == np.isnan(value)
        assert found["iou"][name] is None or abs(found["iou"][name] - value) <= 1e-9
    if some:
        assert abs(found["miou"] - theirs.get_mean_iou()) <= 1e-9
    assert found["iou"] == found["iou_all"]


def test_large_counts_stay_exact():
    """The devkit divides by float32; ours must not lose points when a run has billions."""
    ours = SegmentationScore(["a", "b"])
    ours.confusion[:] = [[2**40 + 1, 1, 0], [0, 5, 0]]
    assert ours.result()["iou"]["a"] == (2**40 + 1) / (2**40 + 2)


def test_a_class_that_is_only_predicted_counts_and_an_absent_one_does_not():
    truth = np.array([0, 0, 0, 0], np.uint8)
    found = score(truth, np.array([0, 0, 0, 1], np.uint8), ["a", "b", "c"])
    assert found["iou"] == {"a": 0.75, "b": 0.0, "c": None}
    assert found["miou"] == 0.375


def test_no_label_is_a_miss_on_all_points_and_nothing_on_labelled_ones():
    truth = np.array([0, 0, 1, 1, 255], np.uint8)
    found = score(truth, np.array([0, 255, 1, 1, 0], np.uint8), ["a", "b"])
    assert found["iou_all"] == {"a": 0.5, "b": 1.0}
    assert found["iou"] == {"a": 1.0, "b": 1.0}
    assert found["coverage"] == 0.75
    assert found["truth_points"] == {"a": 2, "b": 2}


def test_nothing_to_score():
    found = SegmentationScore(["a"]).result()
    assert found["miou"] is found["coverage"] is found["iou"]["a"] is None


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        (np.zeros(3, np.uint8), np.zeros(2, np.uint8)),
        (np.zeros(3, np.int64), np.zeros(3, np.uint8)),
        (np.zeros(3, np.uint8), np.zeros((3, 1), np.uint8)),
        (np.full(3, 2, np.uint8), np.zeros(3, np.uint8)),
        (np.zeros(3, np.uint8), np.full(3, 254, np.uint8)),
    ],
)
def test_what_does_not_fit_is_refused(truth, prediction):
    ours = SegmentationScore(["a", "b"])
    with pytest.raises(ValueError, match=r"truth|prediction"):
        ours.update(truth, prediction)
    assert not ours.confusion.any()


def test_merging_is_updating():
    rng = np.random.default_rng(0)
    parts = [(draw(rng, 50, 16, 0.2), draw(rng, 50, 16, 0.2)) for _ in range(4)]
    one, other, whole = (SegmentationScore(NAMES) for _ in range(3))
    for number, part in enumerate(parts):
        (one, other)[number % 2].update(*part)
        whole.update(*part)
    one.merge(other)
    assert one.result() == whole.result()
    with pytest.raises(ValueError, match="different classes"):
        one.merge(SegmentationScore(["a"]))
