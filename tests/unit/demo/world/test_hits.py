"""Ray against part: compared with marching through an inside test that shares no code with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.demo.world.hits import hash01, hit, normal

BOX, HULL, CONE, ELLIPSOID, TUBE = range(5)
SHAPES = {BOX: (0, 0, 0), HULL: (-0.6, 0.3, 0.5), CONE: (0.3, 0, 0), ELLIPSOID: (0, 0, 0), TUBE: (0.7, 0, 0)}


def inside(kind, p, half, shape):
    """Whether points (N, 3) are in the solid."""
    x, y, z = (p / half).T
    if kind == BOX:
        return (abs(x) <= 1) & (abs(y) <= 1) & (abs(z) <= 1)
    if kind == ELLIPSOID:
        return x * x + y * y + z * z <= 1
    level = abs(z) <= 1
    up = (z + 1) / 2
    if kind == HULL:
        rear, front = -1 + (shape[0] + 1) * up, 1 + (shape[1] - 1) * up
        return level & (x >= rear) & (x <= front) & (abs(y) <= 1 + (shape[2] - 1) * up)
    if kind == CONE:
        return level & (np.hypot(x, y) <= 1 + (shape[0] - 1) * up)
    r = np.hypot(x, y)
    return level & (r <= 1) & (r >= shape[0])


vectors = st.tuples(*[st.floats(-1, 1, width=32)] * 3)


@pytest.mark.parametrize("kind", list(SHAPES))
@settings(max_examples=150, deadline=None)
@given(origin=vectors, towards=vectors)
def test_first_hit_is_where_marching_enters(kind, origin, towards):
    half, shape = np.array([1.3, 0.7, 0.9]), SHAPES[kind]
    origin = np.array(origin)
    norm = np.linalg.norm(origin)
    if norm < 1e-3:
        return
    origin = origin / norm * 4.0
    direction = np.array(towards) * half * 0.9 - origin
    steps = np.linspace(0, 2, 20_001)
    within = inside(kind, origin + steps[:, None] * direction, half, shape)
    t = hit(kind, *origin, *direction, *half, *shape, 0.0, 0.0, 1, 1e-6)
    if within.any():
        first = steps[within.argmax()]
        # A march may step over a grazing corner that the exact test finds.
        assert t <= first + 1e-9
        if np.isfinite(t) and t < first - 2e-4:
            point = origin + t * direction
            assert inside(kind, point[None], half + 1e-6, shape)[0]
    else:
        assert not np.isfinite(t) or _grazes(kind, origin + t * direction, half, shape)


def _grazes(kind, point, half, shape):
    around = point + np.random.default_rng(0).normal(0, 2e-3, (400, 3))
    return inside(kind, around, half, shape).mean() < 0.55 and inside(kind, around, half, shape).any()


@pytest.mark.parametrize("kind", list(SHAPES))
def test_normals_point_out_of_the_solid(kind):
    rng, half, shape = np.random.default_rng(kind), np.array([1.3, 0.7, 0.9]), SHAPES[kind]
    checked = 0
    for _ in range(300):
        origin = rng.normal(size=3)
        origin *= 4 / np.linalg.norm(origin)
        direction = rng.uniform(-0.5, 0.5, 3) - origin
        t = hit(kind, *origin, *direction, *half, *shape, 0.0, 0.0, 1, 1e-6)
        if not np.isfinite(t):
            continue
        point = origin + t * direction
        n = np.array(normal(kind, *point, *half, *shape))
        assert np.isclose(np.linalg.norm(n), 1)
        out, into = inside(kind, np.stack([point + 1e-4 * n, point - 1e-4 * n]), half, shape)
        checked += 1
        assert not out
        assert into
    assert checked > 80


@pytest.mark.parametrize("kind", [BOX, HULL, CONE, ELLIPSOID])
def test_from_inside_the_far_wall_is_hit(kind):
    half, shape = np.array([1.3, 0.7, 0.9]), SHAPES[kind]
    t = hit(kind, 0.01, 0.02, -0.1, 1.0, 0.1, 0.05, *half, *shape, 0.0, 0.0, 1, 1e-6)
    assert 0 < t < 1.6


def test_holes_let_their_share_of_rays_through():
    rng = np.random.default_rng(1)
    met = 0
    for _ in range(1500):
        y, z = rng.uniform(-0.9, 0.9, 2) * 10
        met += np.isfinite(hit(BOX, -5.0, y, z, 1.0, 0.0, 0.0, 0.001, 10, 10, 0, 0, 0, 0.5, 0.3, 7, 1e-6))
    # Both faces of the thin sheet lie in the same cells: half of them are holes.
    assert 0.4 < met / 1500 < 0.75


def test_hash_is_uniform_and_fixed():
    values = np.array([hash01(i, 3, -i, 42) for i in range(5000)])
    assert 0.48 < values.mean() < 0.52
    assert np.histogram(values, 10, (0, 1))[0].min() > 400
    assert hash01(1, 2, 3, 4) == hash01(1, 2, 3, 4) != hash01(1, 2, 3, 5)
