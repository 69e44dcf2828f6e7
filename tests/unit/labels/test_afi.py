"""Approximate Flat Interaction against a literal one, and on scenes whose right labels are known."""

from __future__ import annotations

import numpy as np
import pytest

from labelgen.core.records import PointLabels
from labelgen.distill import afi_torch
from labelgen.labels import afi
from labelgen.labels.afi import AfiSettings, ground_points, refine_flat, refine_labels, refine_probability

SMALL = AfiSettings(nominal=60, stages=3, neighbours=8, back=4)
GAMMA = 0.995


def literal(xyz, feature, settings, gamma=GAMMA):
    """The published steps 4 and 5 point by point, in float64; as METHODS tells them, not as the code does."""
    points = xyz.astype(float)
    directions = afi.fibonacci_sphere(settings.directions).astype(float)
    levels = [(points, feature.astype(float), None)]
    for stage in range(settings.stages):
        size = min(settings.centres[stage], len(levels[-1][0]))
        levels.append(literal_stage(levels[-1], size, settings.neighbours, directions, gamma))
    found = levels[-1][1]
    for number in range(settings.stages, 0, -1):
        found = literal_back(levels[number - 1], levels[number], found, settings, gamma)
    return found


def unit_sum(values):
    return values / values.sum() if values.sum() > 0 else values


def literal_stage(level, size, k, directions, gamma):
    points, feature, below = level
    chosen = [0]
    while len(chosen) < size:
        chosen.append(int(np.argmax([min(np.sum((p - points[c]) ** 2) for c in chosen) for p in points])))
    stats, raw = [], []
    for c in chosen:
        order = np.argsort(np.linalg.norm(points - points[c], axis=1), kind="stable")[:k]
        bins, extent = {}, {}
        for m in order:
            u = points[m] - points[c]
            away = np.linalg.norm(u)
            a = int(np.argmax(directions @ (u / away))) if away else 0
            bins.setdefault(a, []).append(m)
            if not away:
                continue
            h = 1.0
            if below is not None:
                h = along(below[c], below[m], u / away, away, gamma)
            extent[a] = extent.get(a, 0.0) + h
        total = sum(extent.values())
        mean = {
            a: np.mean([points[m] - points[c] for m in members if m != c], axis=0)
            for a, members in bins.items()
            if [m for m in members if m != c]
        }
        weight = {a: extent[a] / total if total else 0.0 for a in extent}
        stats.append({a: (mean[a], weight[a]) for a in mean})
        raw.append((c, order, bins, 1.0 if below is None else total))
    scale = 1.0 if below is None else np.mean([entry[3] for entry in raw])
    pooled = []
    for (c, order, bins, influence), mine in zip(raw, stats, strict=True):
        omega = {a: w / np.linalg.norm(v) for a, (v, w) in mine.items()}
        norm = sum(omega.values())
        f = 0.1 * feature[c] + 1e-8 * feature[order].max(0)
        for a, share in omega.items():
            if norm:
                f = f + (influence / scale if scale else 0) * share / norm * unit_sum(feature[bins[a]].sum(0))
        pooled.append(unit_sum(f))
    return points[chosen], np.array(pooled), stats


def along(mine, other, u, away, gamma):
    weight, ahead, behind = [], [], []
    for bins in (mine, other):
        near = [(v / np.linalg.norm(v) @ u, np.linalg.norm(v), w) for v, w in bins.values()]
        weight.append(sum(w for cosine, _, w in near if abs(cosine) > gamma))
        ahead.append(max([length for cosine, length, _ in near if cosine > gamma], default=0.0))
        behind.append(max([length for cosine, length, _ in near if cosine < -gamma], default=0.0))
    r = (ahead[0] + behind[0] + ahead[1] + behind[1]) / (away + behind[0] + ahead[1])
    return weight[0] * weight[1] * r


def literal_back(fine, coarse, found, settings, gamma):
    points, own, _ = fine
    centres, _, stats = coarse
    rows = []
    for p in points:
        order = np.argsort(np.linalg.norm(centres - p, axis=1), kind="stable")[: settings.back]
        parts = []
        for m in order:
            d = centres[m] - p
            away = np.linalg.norm(d)
            parts.append(
                sum(w for v, w in stats[m].values() if away and abs(v @ d) > gamma * np.linalg.norm(v) * away)
            )
        rows.append((order, np.array(parts)))
    c = 0.3 if len(points) == settings.down * len(centres) else 0.01
    keep = 1e-8 + c * np.mean([parts.sum() for _, parts in rows])
    out = []
    for i, (order, parts) in enumerate(rows):
        share = unit_sum(unit_sum(parts) + 1e-6)
        out.append(unit_sum(parts.sum() * (share @ found[order]) + keep * own[i]))
    return np.array(out)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_published_steps(seed):
    rng = np.random.default_rng(seed)
    n = 60 if seed else 180  # 60: the finest factor is exactly three
    xyz = rng.uniform(-8, 8, (n, 3)).astype(np.float32)
    xyz[:, 2] *= 0.1
    feature = np.eye(5, dtype=np.float32)[rng.integers(0, 5, n)]
    feature[rng.random(n) < 0.3] = 0
    wide = AfiSettings(nominal=60, stages=3, neighbours=8, back=4, gamma=0.9)  # so that lines are found
    expected = literal(xyz, feature, wide, 0.9)
    found = afi._decode(afi._encode(xyz, feature, wide), wide)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    torch = pytest.importorskip("torch")
    again = afi_torch._smooth(torch.from_numpy(xyz), torch.from_numpy(feature), wide).numpy()
    np.testing.assert_allclose(again, expected, atol=2e-5)


def street(rng, n=6000):
    """Road in front, two facades, and a car's side; labels 0 road, 1 facade, 2 car."""
    kind = rng.choice(3, n, p=[0.5, 0.35, 0.15])
    x, y = rng.uniform(-20, 20, n), rng.uniform(-8, 8, n)
    xyz = np.stack([x, y, np.full(n, -1.8)], 1)
    wall = kind == 1
    xyz[wall] = np.stack([x, np.sign(y) * 8.0, rng.uniform(-1.5, 5, n)], 1)[wall]
    car = kind == 2
    xyz[car] = np.stack([rng.uniform(6, 10, n), np.full(n, 3.0), rng.uniform(-1.4, 0, n)], 1)[car]
    return (xyz + rng.normal(0, 0.02, (n, 3))).astype(np.float32), kind.astype(np.uint8)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_noise_on_flat_things_goes_away(noise):
    rng = np.random.default_rng(1)
    xyz, truth = street(rng)
    wrong = rng.random(len(truth)) < noise
    label = np.where(wrong, rng.integers(0, 3, len(truth)), truth).astype(np.uint8)
    found, share = refine_flat(xyz, label, 3, [0])
    before, after = (label == truth).mean(), (found == truth).mean()
    assert ((share >= 0) & (share <= 1 + 1e-5)).all()
    assert after == 1 if noise == 0 else after > before
    if noise == 0.3:
        assert after - before > 0.08


def test_a_pole_stays_where_labels_can_be_trusted_and_noise_goes_where_not():
    rng = np.random.default_rng(4)
    xyz, truth = street(rng)
    pole = np.stack([np.full(12, -5.0), np.full(12, 7.9), np.linspace(-1, 4, 12)], 1).astype(np.float32)
    xyz, truth = np.concatenate([xyz, pole]), np.concatenate([truth, np.full(12, 2, np.uint8)])
    kept, _ = refine_flat(xyz, truth, 3, [0])
    worn, _ = refine_flat(xyz, truth, 3, [0], as_published=True)
    assert (kept[-12:] == 2).all()
    assert (worn[-12:] == 2).sum() < 12
    noisy = np.where(rng.random(len(truth)) < 0.4, rng.integers(0, 3, len(truth)), truth).astype(np.uint8)
    noisy[-12:] = 2
    found, _ = refine_flat(xyz, noisy, 3, [0])
    assert (found == truth).mean() > (noisy == truth).mean() + 0.1


def test_classes_that_meet_in_the_ground_keep_their_border(monkeypatch):
    rng = np.random.default_rng(5)
    xyz, truth = street(rng)
    strip = (truth == 0) & (np.abs(xyz[:, 1]) > 6.5)  # a sidewalk on either side of the road
    truth[strip] = 3
    label = np.where(rng.random(len(truth)) < 0.2, rng.integers(0, 4, len(truth)), truth).astype(np.uint8)
    found, share = refine_flat(xyz, label, 4, [0, 3])
    monkeypatch.setattr(afi, "share_ground", lambda points, arrived, *_: arrived)
    across, _ = refine_flat(xyz, label, 4, [0, 3])
    before, without, after = ((one == truth)[strip].mean() for one in (label, across, found))
    assert after > before + 0.05
    assert after > without + 0.025
    assert ((share >= 0) & (share <= 1 + 1e-5)).all()


def test_neighbours_share_out_what_arrives_of_the_ground():
    points = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [50, 0, 0], [51, 0, 0]], np.float32)
    label = np.array([0, 0, 2, 1, 1], np.uint8)
    arrived = np.array([[0, 0.5, 0.1, 0.4]] * 3 + [[0.2, 0.3, 0.1, 0.4], [0, 0, 0.7, 0]], np.float32)
    found = afi.share_ground(points, arrived, label, [0, 2], AfiSettings(beside=2))
    expected = arrived.copy()
    expected[0, [1, 3]] = 0.45, 0.45  # one neighbour of each
    expected[1, [1, 3]] = 0.45, 0.45
    expected[2, [1, 3]] = 0.9, 0
    expected[3, [1, 3]] = 0, 0.7  # of point 4, no ground, and of point 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    alone = afi.share_ground(points[3:], arrived[3:], label[3:], [0, 2], AfiSettings())
    assert np.array_equal(alone, arrived[3:])


def doubtful(rng, truth, classes, noise):
    """Probabilities of a network that is surer where it is right."""
    wrong = rng.random(len(truth)) < noise
    label = np.where(wrong, rng.integers(0, classes, len(truth)), truth)
    probability = np.full((len(truth), classes), 0.05, np.float32)
    probability[np.arange(len(truth)), truth] = 0.35
    probability[np.arange(len(truth)), label] = np.where(wrong, rng.uniform(0.4, 0.6, len(truth)), 0.9)
    return probability / probability.sum(axis=1, keepdims=True)


def test_probabilities_are_weighed_against_what_arrives():
    rng = np.random.default_rng(6)
    xyz, truth = street(rng)
    before = doubtful(rng, truth, 3, 0.3)
    xyz[0], before[1] = np.nan, 0
    after = refine_probability(xyz, before, [0])
    assert after.dtype == np.float32
    assert np.array_equal(after[:2], before[:2])
    np.testing.assert_allclose(after[2:].sum(axis=1), 1, atol=1e-5)
    right = [(one.argmax(axis=1) == truth)[2:].mean() for one in (before, after)]
    labels, _ = refine_flat(xyz, before.argmax(axis=1).astype(np.uint8), 3, [0])
    assert right[1] > right[0] + 0.1
    assert right[1] > (labels == truth)[2:].mean()
    sure = before[:, 0] > 0.9
    assert (after[sure].argmax(axis=1) == 0).all()


def test_probabilities_literally():
    rng = np.random.default_rng(7)
    xyz = rng.normal(0, 5, (300, 3)).astype(np.float32) + np.array([20, 0, 0], np.float32)
    before = rng.dirichlet(np.ones(4), 300).astype(np.float32)
    settings = AfiSettings(doubt=0.01, weight=0.5)
    after = refine_probability(xyz, before, [], settings)
    feature = np.zeros((300, 5), np.float32)
    feature[np.arange(300), before.argmax(axis=1) + 1] = 1
    expected = before * np.sqrt(afi.smooth_features(xyz, feature, settings)[:, 1:] + 0.01)
    np.testing.assert_allclose(after, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
    assert np.array_equal(
        refine_probability(xyz, before, [], AfiSettings(weight=0)).argmax(1), before.argmax(1)
    )
    with pytest.raises(ValueError, match="points of shape"):
        refine_probability(xyz[:5], before, [])
    assert refine_probability(xyz[:0], before[:0], [0]).shape == (0, 4)


def test_unlabelled_points_are_silent_or_speak():
    rng = np.random.default_rng(2)
    xyz, truth = street(rng)
    label = np.where(rng.random(len(truth)) < 0.6, 255, truth).astype(np.uint8)
    silent, _ = refine_flat(xyz, label, 3, [0])
    assert (silent != 255).mean() > 0.95
    assert (silent == truth).mean() > 0.9
    spoken, _ = refine_flat(xyz, label, 3, [0], as_published=True)
    assert (spoken == 255).mean() > 0.3


def test_the_ground_near_the_car_is_ground():
    rng = np.random.default_rng(3)
    xyz, truth = street(rng)
    label = np.where(truth == 0, 2, truth).astype(np.uint8)  # the road a car
    plane = ground_points(xyz, AfiSettings())
    far = np.hypot(xyz[:, 0], xyz[:, 1])
    road = (truth == 0) & (far > 2.1) & (far < 4.9)
    assert plane[road].mean() > 0.99
    assert not plane[far > 5].any()
    found, _ = refine_flat(xyz, label, 3, [0], as_published=True)
    assert (found[plane] != 2).all()
    free, _ = refine_flat(xyz, label, 3, [], as_published=True)
    assert (free[plane] == 2).mean() > 0.9


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_few_points(n):
    rng = np.random.default_rng(n)
    xyz = rng.normal(0, 10, (n, 3)).astype(np.float32)
    label = rng.integers(0, 4, n).astype(np.uint8)
    found, _ = refine_flat(xyz, label, 4, [])
    assert found.shape == (n,)
    assert set(found.tolist()) <= set(label.tolist()) | {255}


def test_nothing_all_in_one_place_and_what_is_not_finite():
    assert len(refine_flat(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8), 3, [])[0]) == 0
    place = np.full((50, 3), 7, np.float32)
    label = np.repeat([0, 1], 25).astype(np.uint8)
    assert refine_flat(place, label, 2, [])[0].shape == (50,)
    rng = np.random.default_rng(0)
    xyz, truth = street(rng, 600)
    xyz[:5] = np.nan
    kept = truth.copy()
    kept[:5] = [0, 1, 2, 255, 0]
    assert refine_flat(xyz, kept, 3, [0])[0][:5].tolist() == [0, 1, 2, 255, 0]
    none = refine_flat(np.full((3, 3), np.nan, np.float32), np.array([0, 1, 255], np.uint8), 2, [])
    assert none[0].tolist() == [0, 1, 255]
    far = np.full(600, 255, np.uint8)
    assert (refine_flat(xyz, far, 3, [0])[0] == 255).all()


def test_what_does_not_belong_together():
    xyz = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match="for 3 labels"):
        refine_flat(xyz, np.zeros(3, np.uint8), 3, [])
    with pytest.raises(ValueError, match="label 7 is not one of the 3 classes"):
        refine_flat(xyz, np.full(4, 7, np.uint8), 3, [])


def test_published_parameters_and_repeatability():
    assert AfiSettings().centres == (1365, 455, 151, 50)
    rng = np.random.default_rng(5)
    xyz, truth = street(rng, 3000)
    label = np.where(rng.random(3000) < 0.2, 1, truth).astype(np.uint8)
    one, two = refine_flat(xyz, label, 3, [0]), refine_flat(xyz, label, 3, [0])
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_the_torch_version_agrees():
    pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    xyz, truth = street(rng, 4000)
    label = np.where(rng.random(4000) < 0.2, rng.integers(0, 3, 4000), truth).astype(np.uint8)
    label[rng.random(4000) < 0.2] = 255
    ours, _ = refine_flat(xyz, label, 3, [0])
    theirs, _ = refine_flat(xyz, label, 3, [0], smooth=afi_torch.smoother("cpu"))
    assert (ours == theirs).mean() > 0.999


def test_labels_of_a_frame_keep_their_evidence_where_nothing_changes():
    rng = np.random.default_rng(7)
    xyz, truth = street(rng, 3000)
    label = np.where(rng.random(3000) < 0.3, rng.integers(0, 3, 3000), truth).astype(np.uint8)
    label[rng.random(3000) < 0.3] = 255
    small = {name: rng.integers(1, 200, 3000).astype(np.uint8) for name in ("margin", "camera", "views")}
    labels = PointLabels(
        label=label,
        confidence=rng.integers(0, 256, 3000).astype(np.uint8),
        instance=np.ones(3000, np.uint16),
        region=np.full(3000, 3, np.uint16),
        reason=np.where(label == 255, 4, 0).astype(np.uint8),
        **small,
    )
    names = ["road", "manmade", "car"]
    found = refine_labels(xyz, labels, names)
    changed = found.label != label
    assert 0.02 < changed.mean() < 0.4
    np.testing.assert_array_equal(found.label == 255, label == 255)
    for name in ("confidence", "margin", "instance", "region", "camera", "reason"):
        same = getattr(found, name)[~changed] == getattr(labels, name)[~changed]
        assert same.all(), name
    assert (found.instance[changed] == 0).all()
    assert (found.region[changed] == 65535).all()
    np.testing.assert_array_equal(found.views, labels.views)
    filled = refine_labels(xyz, labels, names, fill=True)
    assert (filled.label != 255).mean() > 0.9
    np.testing.assert_array_equal(filled.label == 255, filled.reason != 0)
    none = rng.random(3000) < 0.1
    labels.label[none], labels.reason[none] = 255, 8  # no return, at places of the street
    filled = refine_labels(xyz, labels, names, fill=True)
    assert (filled.label[none] == 255).all()
    assert (filled.reason[none] == 8).all()
    published = refine_labels(xyz, labels, names, as_published=True)
    gone = (published.label == 255) & (label != 255)
    assert gone.any()
    assert (published.reason[gone] == 5).all()


def test_of_equal_points_only_as_many_as_are_asked_for_are_looked_at():
    rng = np.random.default_rng(0)
    places = rng.uniform(-9, 9, (7, 3)).astype(np.float32)
    tree = places[rng.permutation(np.repeat(np.arange(7), [1, 2, 3, 50, 60, 70, 80]))]
    assert len(afi._few_copies(tree, 3)) == 1 + 2 + 3 + 4 * 3
    np.testing.assert_array_equal(afi._few_copies(places, 3), np.arange(7))
    points = rng.uniform(-9, 9, (40, 3)).astype(np.float32)
    away = np.linalg.norm(points[:, None] - tree, axis=2)
    for count in (1, 5, 300):
        near = afi.nearest(tree, points, count)
        found = np.take_along_axis(away, near.astype(np.intp), axis=1)
        np.testing.assert_array_equal(found, np.sort(away, axis=1)[:, :count])
        assert all(len(set(row)) == len(row) for row in near.tolist())
