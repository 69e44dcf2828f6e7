"""Calibration against its definition: closest shares that never fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.errors import UserError
from labelgen.core.records import PointLabels
from labelgen.labels import calibrate
from labelgen.metrics import ConfidenceScore


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_is_the_isotonic_fit(seed):
    rng = np.random.default_rng(seed)
    counts = np.zeros(256, np.int64)
    counts[rng.choice(256, 12, replace=False)] = rng.integers(1, 500, 12)
    right = (counts * rng.random(256)).astype(np.int64)
    table = calibrate.fit(counts, right).table
    assert (np.diff(table) >= 0).all()
    used = np.flatnonzero(counts)
    mean, mass = right[used] / counts[used], counts[used].astype(float)
    # Max-min formula of isotonic regression.
    expected = [
        max(
            min(np.average(mean[i : j + 1], weights=mass[i : j + 1]) for j in range(k, len(used)))
            for i in range(k + 1)
        )
        for k in range(len(used))
    ]
    np.testing.assert_allclose(table[used], expected, atol=2e-2)


def labels_of(label, confidence):
    n = len(label)
    zeros, wide = np.zeros(n, np.uint8), np.zeros(n, np.uint16)
    return PointLabels(label, confidence, zeros, wide, wide, zeros, zeros, zeros)


def test_after_calibration_confidence_is_accuracy(tmp_path):
    rng = np.random.default_rng(0)
    confidence = rng.integers(60, 256, 40_000).astype(np.uint8)
    chance = (confidence / 255) ** 2 * 0.9  # far too sure
    truth = np.zeros(40_000, np.uint8)
    label = np.where(rng.random(40_000) < chance, 0, 1).astype(np.uint8)
    label[:100] = 255
    learn, check = np.arange(40_000) < 20_000, np.arange(40_000) >= 20_000
    score = ConfidenceScore()
    score.update(truth[learn], label[learn], confidence[learn])
    assert score.result()["ece"] > 0.15
    calibrate.fit(score.counts, score.right).save(tmp_path / "c.json")
    found = calibrate.load(tmp_path / "c.json")(labels_of(label, confidence))
    after = ConfidenceScore()
    after.update(truth[check], label[check], found.confidence[check])
    assert after.result()["ece"] < 0.02
    np.testing.assert_array_equal(found.label, label)
    np.testing.assert_array_equal(found.confidence[:100], confidence[:100])


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"format": "x", "table": [0]}',
        '{"format": "labelgen-calibration", "table": ["a"]}',
        '{"format": "labelgen-calibration", "table": %s}' % ([0.5] * 255 + [0.1]),
        '{"format": "labelgen-calibration", "table": %s}' % ([2.0] * 256),
    ],
)  # fmt: skip
def test_what_is_no_calibration(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UserError, match="calibration"):
        calibrate.load(tmp_path / "c.json")


def test_nothing_to_learn_from_and_no_file(tmp_path):
    with pytest.raises(UserError, match="nothing to calibrate on"):
        calibrate.fit(np.zeros(256, np.int64), np.zeros(256, np.int64))
    with pytest.raises(UserError, match="cannot read the calibration"):
        calibrate.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot write"):
        calibrate.Calibration(np.zeros(256)).save(tmp_path / "no" / "c.json")
