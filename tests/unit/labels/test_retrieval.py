"""Retrieval against the formula written out, and the choice of the bank."""

import pickle

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import Semantics
from labelgen.labels.retrieval import Bank, RetrievalSettings, build_bank, retrieve


def random_semantics(seed, count, classes=4, width=6):
    rng = np.random.default_rng(seed)
    feature = rng.normal(size=(count, width))
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    scores = rng.dirichlet(np.ones(classes + 1), count)[:, :classes].astype(np.float16)
    return Semantics(scores, scores.argmax(1).astype(np.uint8), feature.astype(np.float16))


@pytest.fixture
def frames():
    return [(f"frame-{k}", random_semantics(k, 30)) for k in range(5)]


def literal(frames, frame_id, settings):
    """Region by region, in float64."""
    mine = dict(frames)[frame_id]
    others = [(s.feature[r], s.class_scores[r]) for f, s in frames if f != frame_id for r in range(len(s))]
    out = []
    for feature, scores in zip(mine.feature.astype(np.float64), mine.class_scores, strict=True):
        cosine = np.array([1 - ((feature - f.astype(np.float64)) ** 2).sum() / 2 for f, _ in others])
        near = np.argsort(-cosine)[: settings.neighbours]
        w = np.exp(settings.sharpness * (cosine[near] - 1))
        said = sum(w[i] * others[n][1].astype(np.float64) for i, n in enumerate(near)) / w.sum()
        out.append((1 - settings.weight) * scores.astype(np.float64) + settings.weight * said)
    return np.array(out)


@pytest.mark.parametrize("neighbours", [1, 7, 64, 1000])
@pytest.mark.parametrize("sharpness", [0.0, 20.0])
def test_evidence_is_averaged_with_that_of_the_nearest(frames, neighbours, sharpness):
    settings = RetrievalSettings(neighbours=neighbours, weight=0.5, sharpness=sharpness)
    scores, label = retrieve(build_bank(frames, 10**6), frames[2][1], "frame-2", settings)
    want = literal(frames, "frame-2", settings)
    np.testing.assert_allclose(scores, want, atol=2e-3)
    full = np.concatenate([want, 1 - want.sum(1, keepdims=True)], axis=1)
    lead = np.sort(full, axis=1)
    sure = lead[:, -1] - lead[:, -2] > 0.01
    best = full.argmax(1)
    np.testing.assert_array_equal(label[sure], np.where(best == 4, 255, best)[sure])


def test_weight_zero_changes_nothing(frames):
    scores, label = retrieve(build_bank(frames, 99), frames[0][1], "frame-0", RetrievalSettings(weight=0))
    assert scores.tobytes() == frames[0][1].class_scores.tobytes()
    assert label.tobytes() == frames[0][1].label.tobytes()


def test_a_frame_alone_has_nobody_to_ask(frames):
    scores, _ = retrieve(build_bank(frames[:1], 99), frames[0][1], "frame-0", RetrievalSettings())
    np.testing.assert_array_equal(scores, frames[0][1].class_scores)


def test_wrong_regions_are_outvoted_by_those_that_look_alike():
    rng = np.random.default_rng(3)
    frames, right = [], []
    for k in range(40):
        kind = rng.integers(0, 3, 20)
        feature = np.eye(3, 8)[kind] + 0.1 * rng.normal(size=(20, 8))
        feature /= np.linalg.norm(feature, axis=1, keepdims=True)
        said = np.where(rng.random(20) < 0.3, rng.integers(0, 3, 20), kind)
        scores = np.full((20, 3), 0.1, np.float16)
        scores[np.arange(20), said] = 0.6
        frames.append((f"f{k}", Semantics(scores, said.astype(np.uint8), feature.astype(np.float16))))
        right.append(kind)
    bank = build_bank(frames, 10**6)
    before = np.mean([(s.label == t).mean() for (_, s), t in zip(frames, right, strict=True)])
    settings = RetrievalSettings(weight=0.8)
    found = [retrieve(bank, s, f, settings)[1] for f, s in frames]
    after = np.mean([(label == t).mean() for label, t in zip(found, right, strict=True)])
    assert before < 0.85
    assert after > 0.99


def test_regions_without_features_neither_ask_nor_answer(frames):
    blind = random_semantics(9, 4)
    blind.feature[1] = 0
    blind.feature[2] = np.nan
    bank = build_bank([*frames, ("blind", blind)], 10**6)
    assert len(bank) == 5 * 30 + 2
    scores, label = retrieve(bank, blind, "blind", RetrievalSettings())
    assert (scores[1:3] == blind.class_scores[1:3]).all()
    assert (label[1:3] == blind.label[1:3]).all()
    assert (scores[0] != blind.class_scores[0]).any()
    with pytest.raises(UserError, match="no region of the run has a feature"):
        build_bank([("none", random_semantics(0, 0))], 10)


def test_the_choice_is_even_and_always_the_same(frames):
    some = build_bank(frames, 60)
    assert len(some) == 60
    assert (np.bincount(some.frame, minlength=5) > 3).all()
    assert some.digest == build_bank(frames, 60).digest
    assert some.digest != build_bank(frames, 61).digest
    rows = {tuple(row) for row in some.feature.tolist()}
    assert rows <= {tuple(row) for row in build_bank(frames, 10**6).feature.tolist()}


def test_bank_travels_as_bytes_and_pickled(frames):
    bank = build_bank(frames, 50)
    assert Bank.from_bytes(bank.to_bytes()).digest == bank.digest
    bank.index  # noqa: B018 - built here, and not sent along
    assert pickle.loads(pickle.dumps(bank)).digest == bank.digest
    assert len(pickle.dumps(bank)) < 2 * len(bank.to_bytes())


def test_another_bank_is_refused(frames):
    with pytest.raises(ValueError, match="a bank of 6 numbers for 4 classes"):
        retrieve(build_bank(frames, 9), random_semantics(0, 3, classes=7), "x", RetrievalSettings())
