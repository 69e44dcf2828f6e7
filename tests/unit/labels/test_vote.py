"""The vote against a literal one in exact fractions, its reasons, and its independence of any order."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.records import RegionHits, Semantics
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import class_evidence, vote
from tests.helpers.geometry import make_regions, make_views

LABELLED, NO_CAMERA, OCCLUDED, EGO, NO_REGION, TOO_CLOSE, VOID, CAMERA_MISSING, NO_RETURN = range(9)


def semantics(scores):
    scores = np.asarray(scores, np.float16)
    return Semantics(
        class_scores=scores,
        label=np.zeros(len(scores), np.uint8),
        feature=np.zeros((len(scores), 1), np.float16),
    )


def hits_of(lists):
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return RegionHits(offsets=offsets, region=np.array([r for row in lists for r in row], np.int32))


def literal_vote(num_points, views, lists, regions, scores, min_margin, camera_ok, ego, returned):
    """One dictionary per point, straight from the description, in exact arithmetic."""
    C = scores.shape[1]
    exact = [[Fraction(float(s)) for s in row] for row in scores]
    votes = [[*row, max(Fraction(0), 1 - sum(row))] for row in exact]
    specific = [Fraction(round(float(np.float64(a) ** -0.5 * 2.0**32))) for a in regions.area]
    out = []
    for i in range(num_points):
        rows = [v for v in range(len(views)) if views.point[v] == i]
        present = [v for v in rows if camera_ok[views.camera[v]]]
        seen = [v for v in present if views.visible[v]]
        total, parts = [Fraction(0)] * (C + 1), []
        for v in seen:
            rivals = sum(specific[r] for r in lists[v])
            for r in lists[v]:
                share = float(regions.score[r]) * float(specific[r]) / float(rivals)
                weight = Fraction(round(share * 2**20), 2**20)
                for c in range(C + 1):
                    total[c] += weight * votes[r][c]
                parts.append((weight, v, r))
        point = {
            "label": 255, "confidence": 0, "margin": 0, "region": 65535, "camera": 255, "views": len(seen)
        }  # fmt: skip
        if not returned[i]:
            point["reason"] = NO_RETURN
        elif ego[i]:
            point["reason"] = EGO
        elif not rows:
            point["reason"] = NO_CAMERA
        elif not present:
            point["reason"] = CAMERA_MISSING
        elif not seen:
            point["reason"] = OCCLUDED
        elif sum(total) == 0:
            point["reason"] = NO_REGION
        else:
            winner = max(range(C + 1), key=lambda c: (total[c], -c))
            second = max(total[:winner] + total[winner + 1 :], default=Fraction(0))
            share, lead = (float(n / sum(total)) for n in (total[winner], total[winner] - second))
            point["confidence"], point["margin"] = int(share * 255 + 0.5), int(lead * 255 + 0.5)
            point["reason"] = VOID if winner == C else TOO_CLOSE if lead < min_margin else LABELLED
            if point["reason"] == LABELLED:
                point["label"] = winner
            _, v, r = max(
                parts, key=lambda p: (p[0] * votes[p[2]][winner], -regions.area[p[2]], -p[1], -p[2])
            )
            point["region"], point["camera"] = r, views.camera[v]
        out.append(point)
    return out


def random_case(seed, scores_from=None):
    rng = np.random.default_rng(seed)
    N, n_cameras, K, C = rng.integers(1, 12), rng.integers(1, 4), rng.integers(1, 10), rng.integers(1, 6)
    pairs = [(c, i) for c in range(n_cameras) for i in range(N) if rng.random() < 0.6]
    views = make_views(
        [i for _, i in pairs], [c for c, _ in pairs], np.zeros((len(pairs), 2)), rng.random(len(pairs)) < 0.8
    )
    camera = np.sort(rng.integers(0, n_cameras, K))
    area = rng.choice([1, 4, 9, 100, 100, 5000], K)
    score = rng.choice([0, 0.25, 0.5, 0.9, 1.0], K)
    regions = make_regions(camera, [b"0"] * K, area, score)
    choices = scores_from or [0, 0, 0.125, 0.25, 0.5, 0.3, 0.7]
    scores = rng.choice(choices, (K, C)).astype(np.float16)
    scores[scores.sum(1) > 1] /= np.float16(4)
    lists = []
    for c, _ in pairs:
        mine = [r for r in np.flatnonzero(camera == c).tolist() if rng.random() < 0.5]
        lists.append(sorted(mine, key=lambda r: (area[r], r)))
    camera_ok, ego = rng.random(n_cameras) < 0.8, rng.random(N) < 0.1
    return int(N), views, lists, regions, scores, camera_ok, ego


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.3]))
def test_equals_a_literal_vote(seed, min_margin):
    N, views, lists, regions, scores, camera_ok, ego = random_case(seed)
    returned = np.random.default_rng(seed + 1).random(N) < 0.9
    parts = (views, hits_of(lists), regions, semantics(scores))
    labels = vote(N, *parts, VoteSettings(min_margin=min_margin), camera_ok, ego, returned=returned)
    expected = literal_vote(N, views, lists, regions, scores, min_margin, camera_ok, ego, returned)
    assert not class_evidence(N, *parts, camera_ok, ego, returned=returned)[ego | ~returned].any()
    for name in expected[0]:
        np.testing.assert_array_equal(
            getattr(labels, name), [point[name] for point in expected], err_msg=name
        )
    assert not labels.instance.any()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_does_not_depend_on_the_order_of_cameras_and_regions(seed):
    rng = np.random.default_rng(seed)
    # Scores from a continuum: order would show in the last bits of inexact sums.
    N, views, lists, regions, scores, camera_ok, ego = random_case(seed, list(rng.dirichlet([1] * 40) * 3))
    straight = vote(N, views, hits_of(lists), regions, semantics(scores), VoteSettings(), camera_ok, ego)

    to_camera = rng.permutation(len(camera_ok))  # the new index of each camera
    shuffled = rng.permutation(len(regions))
    by_camera = shuffled[np.argsort(to_camera[regions.camera[shuffled]], kind="stable")]
    to_region = np.argsort(by_camera)
    order = np.lexsort([views.point, to_camera[views.camera]])
    moved = vote(
        N,
        make_views(
            views.point[order],
            to_camera[views.camera[order]],
            np.zeros((len(order), 2)),
            views.visible[order],
        ),
        hits_of([rng.permutation([to_region[r] for r in lists[v]]).astype(int).tolist() for v in order]),
        make_regions(
            to_camera[regions.camera[by_camera]],
            [b"0"] * len(regions),
            regions.area[by_camera],
            regions.score[by_camera],
        ),
        semantics(scores[by_camera]),
        VoteSettings(),
        camera_ok[np.argsort(to_camera)],
        ego,
    )
    for name in ("label", "confidence", "margin", "views", "reason"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(straight, name), err_msg=name)
    decided = straight.region != 65535
    np.testing.assert_array_equal(decided, moved.region != 65535)
    for a, b in zip(straight.region[decided], by_camera[moved.region[decided]], strict=True):
        same = a == b or (regions.score[a] == regions.score[b] and regions.area[a] == regions.area[b])
        assert same or not np.array_equal(scores[a], scores[b])


def one_point(
    lists, scores, cameras=None, visible=None, camera_ok=None, ego=False, area=None, score=None, margin=0.02
):
    cameras = [0] * len(lists) if cameras is None else cameras
    K = len(scores)
    n_cameras = max([0, *cameras]) + 1
    region_camera = np.zeros(K, int)
    for v, row in enumerate(lists):
        region_camera[row] = cameras[v]
    labels = vote(
        1,
        make_views([0] * len(lists), cameras, np.zeros((len(lists), 2)), visible),
        hits_of(lists),
        make_regions(region_camera, [b"0"] * K, [100] * K if area is None else area, score),
        semantics(np.asarray(scores).reshape(K, -1)),
        VoteSettings(min_margin=margin),
        np.ones(n_cameras, bool) if camera_ok is None else np.asarray(camera_ok),
        np.array([ego]),
    )
    names = ("label", "confidence", "margin", "region", "camera", "views", "reason")
    return {name: int(getattr(labels, name)[0]) for name in names}


def test_one_region_gives_its_best_class():
    got = one_point([[0]], [[0.125, 0.75]])
    assert got == {
        "label": 1,
        "confidence": 191,
        "margin": 159,
        "region": 0,
        "camera": 0,
        "views": 1,
        "reason": LABELLED,
    }


def test_what_the_scores_lack_goes_to_void_and_wins():
    got = one_point([[0]], [[0.125, 0.25]])
    assert (got["label"], got["reason"]) == (255, VOID)
    assert (got["confidence"], got["region"]) == (round(0.625 * 255), 0)


def test_a_class_wins_a_tie_with_void_and_the_lower_class_one_with_another():
    assert one_point([[0]], [[0.25, 0.5]], margin=0)["label"] == 1
    assert one_point([[0]], [[0.5, 0.5]], margin=0)["label"] == 0
    assert one_point([[0]], [[0.5, 0.5]], margin=0.02)["reason"] == TOO_CLOSE


def test_too_close_keeps_its_evidence():
    got = one_point([[0]], [[0.5, 0.4375]], margin=0.1)
    assert got["label"] == 255
    assert got["reason"] == TOO_CLOSE
    assert (got["confidence"], got["margin"], got["region"], got["camera"]) == (128, 16, 0, 0)


def test_the_smaller_region_weighs_more():
    scores = [[1.0, 0.0], [0.0, 1.0]]
    assert one_point([[0, 1]], scores, area=[100, 10000])["label"] == 0
    assert one_point([[1, 0]], scores, area=[10000, 100])["label"] == 1
    assert one_point([[0, 1]], scores, area=[100, 10000])["confidence"] == round(10 / 11 * 255)


def test_a_view_in_many_regions_has_one_vote_as_any_other():
    scores = [[1.0, 0.0]] * 5 + [[0.0, 1.0]]
    got = one_point([[0, 1, 2, 3, 4], [5]], scores, cameras=[0, 1], score=[0.9] * 5 + [1.0])
    assert (got["label"], got["region"], got["camera"], got["views"]) == (1, 5, 1, 2)


def test_score_of_the_proposer_counts():
    scores = [[1.0, 0.0], [0.0, 1.0]]
    assert one_point([[0], [1]], scores, cameras=[0, 1], score=[0.5, 0.9])["label"] == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"lists": []}, NO_CAMERA),
        ({"lists": [[0]], "visible": [False]}, OCCLUDED),
        ({"lists": [[]]}, NO_REGION),
        ({"lists": [[0]], "score": [0.0]}, NO_REGION),
        ({"lists": [[0]], "camera_ok": [False]}, CAMERA_MISSING),
        (
            {"lists": [[0], [0]], "cameras": [0, 1], "visible": [True, False], "camera_ok": [False, True]},
            OCCLUDED,
        ),
        ({"lists": [[0]], "ego": True}, EGO),
        ({"lists": [], "ego": True}, EGO),
    ],
)
def test_reasons(arguments, reason):
    got = one_point(scores=[[1.0]], **arguments)
    assert got["reason"] == reason
    assert (got["label"], got["region"], got["camera"], got["confidence"]) == (255, 65535, 255, 0)


def test_views_counts_cameras_that_see_the_point():
    got = one_point(
        [[0], [1], [2], []],
        [[1.0]] * 3,
        cameras=[0, 1, 2, 3],
        visible=[True, True, False, True],
        camera_ok=[True, False, True, True],
    )
    assert got["views"] == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -3.0, 60000.0])
def test_scores_that_are_no_probabilities_do_no_harm(bad):
    got = one_point([[0, 1]], [[0.0, bad], [0.75, 0.0]], score=[np.nan if np.isnan(bad) else 1, 1])
    assert 0 <= got["confidence"] <= 255
    assert got["label"] in (0, 1, 255)


def test_nothing_at_all():
    labels = vote(
        0, make_views([], [], []), hits_of([]), make_regions([], [], []), semantics(np.zeros((0, 16))),
        VoteSettings(), np.zeros(0, bool), np.zeros(0, bool),
    )  # fmt: skip
    assert len(labels) == 0
    labels = vote(
        3, make_views([], [], []), hits_of([]), make_regions([], [], []), semantics(np.zeros((0, 0))),
        VoteSettings(), np.zeros(0, bool), np.zeros(3, bool),
    )  # fmt: skip
    assert labels.reason.tolist() == [NO_CAMERA] * 3


def test_arguments_that_do_not_belong_together_are_refused():
    views, regions, scores = (
        make_views([0], [0], [[0, 0]]),
        make_regions([0], [b"0"], [1]),
        semantics([[1.0]]),
    )
    ok, ego = np.ones(1, bool), np.zeros(1, bool)

    def call(**change):
        a = {
            "n": 1,
            "views": views,
            "hits": hits_of([[0]]),
            "semantics": scores,
            "ok": ok,
            "ego": ego,
        } | change
        return vote(a["n"], a["views"], a["hits"], regions, a["semantics"], VoteSettings(), a["ok"], a["ego"])

    call()
    bad_offsets = RegionHits(offsets=np.array([0, 5], np.int64), region=np.zeros(1, np.int32))
    for match, change in {
        "semantics for": {"semantics": semantics([[1.0], [1.0]])},
        "ego mask": {"ego": np.zeros(2, bool)},
        "views.point": {"n": 0, "ego": np.zeros(0, bool)},
        "views.camera": {"ok": np.zeros(0, bool)},
        "hits.region": {"hits": hits_of([[1]])},
        "do not belong": {"hits": hits_of([[0], [0]])},
        "do not cover": {"hits": bad_offsets},
        "classes": {"semantics": semantics(np.zeros((1, 255)))},
    }.items():
        with pytest.raises(ValueError, match=match):
            call(**change)
    with pytest.raises(ValueError, match=r"views\.point"):
        call(views=make_views([-1], [0], [[0, 0]]))
