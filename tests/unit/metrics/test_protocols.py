"""The three ways to compute mIoU: the devkit itself, the other two written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.eval.lidarseg.utils import ConfusionMatrix

from labelgen.metrics import PROTOCOLS, SegmentationScore

NAMES = [f"class{k}" for k in range(16)]


def draw(rng: np.random.Generator, n: int, gaps: float) -> np.ndarray:
    """Ids of a random part of the classes, some of them 255."""
    used = rng.permutation(16)[: rng.integers(1, 17)]
    return np.where(rng.random(n) < gaps, 255, rng.choice(used, n)).astype(np.uint8)


def protocols(truth, prediction):
    score = SegmentationScore(NAMES)
    score.update(truth, prediction)
    return score.protocols()


def counts(truth, prediction, number):
    """Points of a class that are found, missed, and wrongly given; points without truth do not exist."""
    known = [(t, p) for t, p in zip(truth.tolist(), prediction.tolist(), strict=True) if t != 255]
    found = sum(1 for t, p in known if t == number and p == number)
    missed = sum(1 for t, p in known if t == number and p != number)
    false = sum(1 for t, p in known if t != number and p == number)
    return found, missed, false


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 150), gaps=st.sampled_from([0.0, 0.4, 1.0]))
def test_semantickitti_and_slidr_by_their_definitions(seed, n, gaps):
    rng = np.random.default_rng(seed)
    truth, prediction = draw(rng, n, 0.2), draw(rng, n, gaps)
    kitti, slidr, total, hits = [], [], 0, 0
    for number in range(16):
        found, missed, false = counts(truth, prediction, number)
        union = found + missed + false
        kitti.append(found / union if union else 0.0)
        slidr.append(found / union if union else 1.0)
        total, hits = total + found + missed, hits + found
    ours = protocols(truth, prediction)
    assert ours["semantickitti"]["miou"] == pytest.approx(sum(kitti) / 16, abs=1e-9)
    assert list(ours["semantickitti"]["iou"].values()) == pytest.approx(kitti, abs=1e-9)
    assert ours["slidr"]["miou"] == pytest.approx(sum(slidr) / 16, abs=1e-9)
    if total:
        assert ours["slidr"]["fwiou"] == pytest.approx(hits / (2 * total - hits), abs=1e-9)
    else:
        assert ours["slidr"]["fwiou"] is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 150))
def test_devkit_is_the_devkit(seed, n):
    rng = np.random.default_rng(seed)
    truth, prediction = draw(rng, n, 0.2), draw(rng, n, 0.0)
    theirs = ConfusionMatrix(num_classes=17, ignore_idx=0)
    theirs.update(np.where(truth == 255, 0, truth + 1), prediction.astype(int) + 1)
    ours = protocols(truth, prediction)["devkit"]
    expected = [None if np.isnan(value) else float(value) for value in theirs.get_per_class_iou()[1:]]
    for mine, other in zip(ours["iou"].values(), expected, strict=True):
        assert (mine is None) == (other is None)
        assert mine is None or mine == pytest.approx(other, abs=1e-9)
    if any(value is not None for value in expected):
        assert ours["miou"] == pytest.approx(theirs.get_mean_iou(), abs=1e-9)


def test_the_devkit_refuses_gaps_and_so_do_we():
    truth, prediction = np.array([0, 1], np.uint8), np.array([0, 255], np.uint8)
    with pytest.raises(AssertionError):
        ConfusionMatrix(17, 0).update(truth + 1, np.array([1, 0]))
    assert protocols(truth, prediction)["devkit"]["miou"] is None
    assert protocols(truth, prediction)["semantickitti"]["miou"] == pytest.approx(1 / 16)
    assert protocols(truth, prediction)["slidr"]["miou"] == pytest.approx(15 / 16)
    # A gap where nothing is known does no harm.
    assert protocols(np.array([0, 255], np.uint8), prediction)["devkit"]["miou"] == 1.0


def test_three_tools_three_numbers():
    """The same arrays: two classes there, one of them half found, fourteen absent."""
    truth = np.array([0] * 10 + [1] * 10, np.uint8)
    prediction = np.array([0] * 10 + [1] * 5 + [0] * 5, np.uint8)
    found = protocols(truth, prediction)
    mean = (10 / 15 + 5 / 10) / 2
    assert found["devkit"]["miou"] == pytest.approx(mean)
    assert found["semantickitti"]["miou"] == pytest.approx(2 * mean / 16)
    assert found["slidr"]["miou"] == pytest.approx((2 * mean + 14) / 16)
    assert set(found) == set(PROTOCOLS)
    assert all(found[name]["how"] == PROTOCOLS[name] for name in found)
