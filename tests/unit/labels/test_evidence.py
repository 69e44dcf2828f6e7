"""Evidence of views: each factor against its formula, and what it does to a vote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.core.precision import half_metres
from labelgen.core.records import Semantics, Views
from labelgen.geometry import ProjectionSettings, region_hits, rle
from labelgen.labels.evidence import as_stored, class_margins, hit_evidence
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import class_evidence, vote
from labelgen.shards.columns import decode_uv, encode_uv
from tests.helpers.geometry import make_camera, make_regions

CAMERA = make_camera(60, 60, focal=30.0, center=(29.5, 29.5))
ALL = {"class_margin": 0.6, "edge": 0.7, "residual": 0.5, "angle": 0.9}


def scene(seed=0, points=40):
    rng = np.random.default_rng(seed)
    pairs = [(c, i) for c in range(2) for i in range(points) if rng.random() < 0.7]
    V = len(pairs)
    views = Views(
        point=np.array([i for _, i in pairs], np.int32),
        camera=np.array([c for c, _ in pairs], np.uint8),
        uv=rng.uniform(0, 59, (V, 2)).astype(np.float32),
        depth=rng.uniform(2, 60, V).astype(np.float32),
        depth_residual=rng.choice([0.0, 0.2, 0.4, 3.0], V).astype(np.float32),
        visible=np.ones(V, bool),
    )
    masks = [np.kron(rng.random((6, 6)) < 0.8, np.ones((10, 10), bool)) for _ in range(6)]
    regions = make_regions(
        [0, 0, 0, 1, 1, 1], [rle.encode(m) for m in masks], [int(m.sum()) for m in masks], [0.9] * 6
    )
    scores = (rng.dirichlet(np.ones(4), 6)[:, :3]).astype(np.float16)
    semantics = Semantics(scores, scores.argmax(1).astype(np.uint8), np.zeros((6, 1), np.float16))
    return views, region_hits(views, regions, [CAMERA] * 2, 8), regions, semantics


def evidence(parts, **strengths):
    views, hits, _, semantics = parts
    settings = VoteSettings(**dict.fromkeys(ALL, 0.0) | strengths)
    return hit_evidence(views, hits, semantics, [CAMERA] * 2, settings, ProjectionSettings())


def test_nothing_asked_nothing_computed():
    assert evidence(scene()) is None


def test_each_factor_by_its_formula_and_their_product():
    views, hits, _, semantics = parts = scene()
    view = np.repeat(np.arange(len(views)), np.diff(hits.offsets))
    depth, residual = (metres.astype(np.float16) for metres in (views.depth, views.depth_residual))
    tolerance = np.maximum(ProjectionSettings().max_residual, 0.05 * depth.astype(float))
    x, y = ((np.floor(views.uv + 0.5) - 29.5) / 30).T
    scores = semantics.class_scores.astype(float)
    best = np.sort(np.column_stack([scores, 1 - scores.sum(1)]), axis=1)
    shares = {
        "residual": (1 - np.minimum(residual / tolerance, 1))[view],
        "angle": (1 / np.sqrt(1 + x**2 + y**2))[view],
        "class_margin": (best[:, -1] - best[:, -2])[hits.region],
        "edge": hits.inside,
    }
    for name, share in shares.items():
        got = evidence(parts, **{name: ALL[name]})
        np.testing.assert_allclose(got, 1 - ALL[name] * (1 - share), atol=1e-6)
    product = np.prod([evidence(parts, **{name: value}) for name, value in ALL.items()], axis=0)
    np.testing.assert_allclose(evidence(parts, **ALL), product, atol=1e-12)
    assert ((product >= 0) & (product <= 1)).all()
    assert len(np.unique(evidence(parts, edge=0.7))) > 5
    with pytest.raises(ValueError, match="with a reach"):
        evidence((views, replace(hits, inside=None), None, semantics), edge=0.7)


def test_what_a_shard_rounds_changes_nothing():
    views, hits, _, semantics = parts = scene(2)
    stored = replace(
        views,
        uv=decode_uv(encode_uv(views.uv, 32), 32),
        depth=views.depth.astype(np.float16).astype(np.float32),
        depth_residual=views.depth_residual.astype(np.float16).astype(np.float32),
    )
    assert (stored.depth != views.depth).any()
    found = evidence((stored, hits, None, semantics), **ALL)
    assert found.tobytes() == evidence(parts, **ALL).tobytes()


def test_a_camera_that_is_not_there_is_refused():
    views, hits, _, semantics = scene()
    settings = VoteSettings(**ALL)
    with pytest.raises(ValueError, match="camera 1"):
        hit_evidence(views, hits, semantics, [CAMERA], settings, ProjectionSettings())


def test_leads_of_odd_scores():
    scores = np.array([[np.nan, 0.5], [2.0, -1.0], [0, 0], [0.25, 0.75]], np.float16)
    semantics = Semantics(scores, np.zeros(4, np.uint8), np.zeros((4, 1), np.float16))
    np.testing.assert_array_equal(class_margins(semantics), [0, 1, 1, 0.5])
    none = Semantics(np.zeros((2, 0), np.float16), np.zeros(2, np.uint8), np.zeros((2, 1), np.float16))
    np.testing.assert_array_equal(class_margins(none), [1, 1])


def votes(parts, factor):
    views, hits, regions, semantics = parts
    return vote(
        40, views, hits, regions, semantics, VoteSettings(), np.ones(2, bool), np.zeros(40, bool), factor
    )


def sums(parts, factor, **more):
    views, hits, regions, semantics = parts
    ok, ego = more.get("ok", np.ones(2, bool)), more.get("ego", np.zeros(40, bool))
    return class_evidence(40, views, hits, regions, semantics, ok, ego, factor)


def test_full_evidence_changes_nothing_and_none_silences():
    parts = scene()
    plain = votes(parts, None)
    for name in ("label", "confidence", "margin", "region", "camera", "views", "reason"):
        same = getattr(votes(parts, np.ones(len(parts[1].region))), name)
        np.testing.assert_array_equal(same, getattr(plain, name))
    silent = votes(parts, np.zeros(len(parts[1].region)))
    assert (silent.label == 255).all()
    assert set(np.unique(silent.reason)) <= {1, 4}


def test_the_view_with_more_evidence_decides():
    views, hits, regions, semantics = scene(3)
    # Two cameras that contradict each other on every point.
    scores = np.zeros((6, 3), np.float16)
    scores[:3, 0], scores[3:, 1] = 1, 1
    parts = views, hits, regions, Semantics(scores, scores.argmax(1).astype(np.uint8), semantics.feature)
    camera = regions.camera[hits.region]
    both = np.isin(np.arange(40), views.point[views.camera == 0]) & np.isin(
        np.arange(40), views.point[views.camera == 1]
    )
    for favoured in (0, 1):
        found = votes(parts, np.where(camera == favoured, 1.0, 0.3))
        heard = both & (sums(parts, None)[:, :2] > 0.5).all(1)
        assert heard.any()
        assert (found.label[heard] == favoured).all()
        assert (found.camera[heard] == favoured).all()


def test_sums_are_what_the_vote_decides_by():
    parts = scene(5)
    factor = evidence(parts, **ALL)
    found, total = votes(parts, factor), sums(parts, factor)
    assert total.shape == (40, 4)
    labelled = found.label != 255
    assert labelled.any()
    np.testing.assert_array_equal(found.label[labelled], total[labelled].argmax(1))
    share = total[labelled].max(1) / total[labelled].sum(1)
    np.testing.assert_allclose(found.confidence[labelled] / 255, share, atol=0.6 / 255)
    np.testing.assert_array_equal(total.sum(1) == 0, found.region == 65535)
    assert not sums(parts, factor, ego=np.ones(40, bool)).any()
    assert not sums(parts, factor, ok=np.zeros(2, bool)).any()
    assert total.sum(1).max() <= 2 + 1e-6  # one vote for each view at most


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(3), "evidence of float64"),
        (None, "outside of 0 to 1"),
    ],
)
def test_evidence_that_does_not_fit(bad, message):
    parts = scene()
    if bad is None:
        bad = np.full(len(parts[1].region), np.nan)
    with pytest.raises(ValueError, match=message):
        votes(parts, bad)


def test_metres_are_rounded_as_a_shard_rounds_them():
    bits = np.random.default_rng(0).integers(0, 2**32, 2_000_000, dtype=np.uint32).view(np.float32)
    near = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    halfway = (near[:-1] + near[1:]) / 2
    metres = np.concatenate([bits[~np.isnan(bits)], near, -near, halfway, np.nextafter(halfway, np.inf)])
    want = half_metres(metres).astype(np.float32)
    np.testing.assert_array_equal(as_stored(metres).view(np.uint32), want.view(np.uint32))


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_any_metres_are_rounded_as_a_shard_rounds_them(metres):
    metres = np.array(metres, np.float32)
    want = half_metres(metres).astype(np.float32)
    np.testing.assert_array_equal(as_stored(metres).view(np.uint32), want.view(np.uint32))
