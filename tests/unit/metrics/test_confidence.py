"""Calibration error and deciles on labels whose accuracy is known."""

from __future__ import annotations

import numpy as np
import pytest

from labelgen.metrics import ConfidenceScore


def score(truth, prediction, confidence):
    out = ConfidenceScore()
    out.update(*(np.asarray(values, np.uint8) for values in (truth, prediction, confidence)))
    return out


def test_confidence_that_is_the_accuracy_has_no_error():
    confidence = np.repeat([51, 153, 255], 100)  # 0.2, 0.6, 1.0
    right = np.concatenate([np.arange(100) < 20, np.arange(100) < 60, np.ones(100, bool)])
    found = score(np.zeros(300), np.where(right, 0, 1), confidence).result()
    assert found["ece"] == pytest.approx(0, abs=1e-12)
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["rises"]
    assert found["deciles"][0] == pytest.approx(0.2)
    assert found["deciles"][-1] == pytest.approx(1.0)
    assert np.mean(found["deciles"]) == pytest.approx(0.6)


def test_the_error_is_the_gap_weighed_by_its_share():
    found = score([0] * 4, [0, 1, 1, 1], [255, 255, 255, 0]).result()
    # Three claim certainty and one of them is right; one claims nothing and is wrong.
    assert found["ece"] == pytest.approx(0.75 * (1 - 1 / 3))


def test_deciles_of_labels_in_order_of_confidence():
    """Against sorting: with all confidences different, tenths are exact."""
    rng = np.random.default_rng(0)
    confidence = rng.permutation(250)
    right = rng.random(250) < confidence / 250
    found = score(np.zeros(250), np.where(right, 0, 1), confidence).result()
    ordered = right[np.argsort(confidence)]
    assert found["deciles"] == pytest.approx(ordered.reshape(10, 25).mean(1))
    assert found["rises"] == bool((np.diff(ordered.reshape(10, 25).mean(1)) >= 0).all())


def test_what_is_unknown_or_unlabelled_is_passed_over():
    found = score([255, 0, 0], [0, 255, 0], [10, 20, 30])
    assert found.result()["labels"] == 1
    nothing = score([], [], []).result()
    assert nothing["ece"] is None
    assert nothing["deciles"] == [None] * 10
    found.merge(score([0], [1], [30]))
    assert found.result()["accuracy"] == 0.5
