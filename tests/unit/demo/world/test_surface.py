"""The ground: search grid, heights and ray hits against slow, plain computations."""

import numpy as np
import pytest

from labelgen.demo.world import surface as sf
from labelgen.demo.world.layout import plan_city


@pytest.fixture(scope="module")
def plan():
    return plan_city(np.random.default_rng(5))


def places(plan, count, seed=0):
    rng = np.random.default_rng(seed)
    road = plan.roads[0]
    x, y, _ = road.at(rng.uniform(0, road.length, count), rng.uniform(-45, 45, count))
    return x, y


def beyond_kerbs(plan, x, y):
    """Metres beyond each road's kerb by sampling the centre lines every centimetre."""
    out = []
    for road in plan.roads:
        s = np.arange(0, road.length, 0.01)
        cx, cy, _ = road.at(s, np.zeros_like(s))
        along = (x - cx[0]) * (cx[1] - cx[0]) + (y - cy[0]) * (cy[1] - cy[0])
        past_an_end = not road.closed and not 0 <= along <= 0.01 * road.length
        out.append(np.inf if past_an_end else np.hypot(cx - x, cy - y).min() - road.half_width)
    return np.sort(out)


def test_search_grid_finds_the_two_nearest_roads(plan):
    xs, ys = places(plan, 150)
    for x, y in zip(xs, ys, strict=True):
        _, _, best, other = sf._nearest(plan.ground, x, y)
        true = beyond_kerbs(plan, x, y)
        if true[0] < 40:
            assert best == pytest.approx(true[0], abs=0.02)
            if other < 30 or (len(true) > 1 and true[1] < 10):
                assert other == pytest.approx(true[1], abs=0.02)


def test_roads_are_roads_and_their_sides_follow_in_order(plan):
    road = plan.roads[0]
    s = np.linspace(0, road.length, 300)
    for d in (road.median + 1.0, -road.median - 1.0):
        x, y, _ = road.at(s, np.full_like(s, d))
        kinds, beyond, _ = sf.surfaces(plan.ground, x, y)
        assert (kinds == sf.ROAD).all()
        assert (beyond < 0).all()
    x, y, _ = road.at(s, np.full_like(s, road.half_width + plan.walk - 0.1))
    kinds, beyond, other = sf.surfaces(plan.ground, x, y)
    clear = other > 15
    assert np.isin(kinds[clear], [sf.SIDEWALK, sf.DRIVEWAY]).all()


@pytest.mark.parametrize("guess", [sf.ROAD, sf.SIDEWALK])
def test_rays_end_on_the_ground_whatever_the_guess(plan, guess):
    rng = np.random.default_rng(3)
    xs, ys = places(plan, 300, 4)
    for x, y in zip(xs, ys, strict=True):
        turn, down = rng.uniform(0, 6.28), rng.uniform(-0.6, -0.02)
        ray = np.array([np.cos(turn), np.sin(turn), down])
        t, kind, face, *_ = sf.ground_hit(plan.ground, sf.HEIGHT, x, y, 1.5, *ray, 300.0, guess)
        again = sf.ground_hit(plan.ground, sf.HEIGHT, x, y, 1.5, *ray, 300.0, sf.WATER)
        assert again[:3] == (t, kind, face)
        if not np.isfinite(t):
            continue
        px, py, pz = np.array([x, y, 1.5]) + t * ray
        height = sf.HEIGHT[sf.surfaces(plan.ground, np.array([px]), np.array([py]))[0][0]]
        assert pz == pytest.approx(height, abs=1e-6) or (face and pz <= height + 1e-6)
        # Nothing higher was passed on the way.
        along = np.linspace(0, t * (1 - 1e-6), 400)
        way = np.array([x, y, 1.5]) + along[:, None] * ray
        kinds = sf.surfaces(plan.ground, way[:, 0].copy(), way[:, 1].copy())[0]
        assert (way[:, 2] >= sf.HEIGHT[kinds] - 1e-3).all()


def test_pieces_have_one_surface_each(plan):
    xs, ys = places(plan, 500, 6)
    for x, y in zip(xs, ys, strict=True):
        kind = int(sf.surfaces(plan.ground, np.array([x]), np.array([y]))[0][0])
        piece = int(sf.piece_at(plan.ground, kind, x, y))
        expected = sf.ROAD if kind == sf.DRIVEWAY else kind
        assert plan.pieces[piece] == expected
