"""How much of a region there is around a pixel, against the mask itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.geometry import region_hits, rle
from labelgen.geometry.fractions import inside_of_steps, inside_steps, whole_reach
from tests.helpers.geometry import make_camera, make_regions, make_views


def literal(mask, x, y, reach):
    """Pixel by pixel; the image's border is no edge."""
    height, width = mask.shape
    up = next((d for d in range(reach) if y - d >= 0 and not mask[y - d, x]), reach)
    down = next((d for d in range(reach) if y + d < height and not mask[y + d, x]), reach)
    sides = [not 0 <= s < width or mask[y, s] for s in (x - reach, x + reach)]
    return (min(up, down) / reach + sum(sides)) / 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reach=st.integers(1, 9))
def test_equals_looking_at_the_mask(seed, reach):
    rng = np.random.default_rng(seed)
    width, height = 40, 30
    masks = [np.kron(rng.random((6, 8)) < 0.7, np.ones((5, 5), bool)) for _ in range(4)]
    uv = rng.uniform(-0.4, [width - 0.6, height - 0.6], (60, 2))
    camera = make_camera(width, height)
    cameras = [camera, camera]
    views = make_views(np.arange(60), np.repeat([0, 1], 30), uv)
    regions = make_regions(
        [0, 0, 1, 1], [rle.encode(mask) for mask in masks], [int(mask.sum()) for mask in masks]
    )
    plain, hits = region_hits(views, regions, cameras), region_hits(views, regions, cameras, reach)
    assert plain.inside is None
    np.testing.assert_array_equal(plain.offsets, hits.offsets)
    np.testing.assert_array_equal(plain.region, hits.region)
    assert len(hits.inside) == len(hits.region)
    for v in range(60):
        x, y = (int(np.floor(p + 0.5)) for p in views.uv[v])
        for h in range(hits.offsets[v], hits.offsets[v + 1]):
            assert hits.inside[h] == pytest.approx(literal(masks[hits.region[h]], x, y, reach))


def test_one_deep_inside_none_at_the_rim():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    camera = make_camera(60, 60)
    views = make_views([0, 1, 2], [0, 0, 0], [[30, 30], [10, 10], [30, 12]])
    regions = make_regions([0], [rle.encode(mask)], [1600])
    found = region_hits(views, regions, [camera], 8).inside
    assert found[0] == 1.0
    assert found[1] == pytest.approx((1 / 8 + 1) / 3)
    assert found[2] == pytest.approx((3 / 8 + 2) / 3)
    assert (region_hits(views, regions, [camera], 0.1).inside > 0).all()  # at least a pixel


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reach=st.integers(1, 85))
def test_in_steps_it_is_the_same_to_the_last_bit(seed, reach):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((4, 5)) < 0.8, np.ones((30, 30), bool))
    camera = make_camera(150, 120)
    views = make_views(np.arange(200), [0] * 200, rng.uniform(0, [149, 119], (200, 2)))
    found = region_hits(views, make_regions([0], [rle.encode(mask)], [int(mask.sum())]), [camera], reach)
    assert found.reach == reach
    steps = inside_steps(found.inside, reach)
    assert inside_of_steps(steps, reach).tobytes() == found.inside.tobytes()


def test_whole_reach():
    assert [whole_reach(reach) for reach in (0.0, 0.1, 8.0, 8.6)] == [0, 1, 8, 9]
