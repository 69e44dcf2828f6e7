"""Regions under pixels against decoded masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.geometry import hits, region_hits, rle, view_region
from tests.helpers.geometry import make_camera, make_regions, make_views


def random_case(seed, cameras=3, regions=12, views=200):
    rng = np.random.default_rng(seed)
    rig, camera, masks = [], [], []
    for c in range(cameras):
        width, height = rng.integers(1, 60, 2).tolist()
        rig.append(make_camera(width, height, name=f"cam{c}"))
        y, x = np.mgrid[:height, :width]
        for _ in range(rng.integers(0, regions)):
            cx, cy, r = rng.uniform(-5, 65), rng.uniform(-5, 65), rng.uniform(0, 40)
            noise = rng.random((height, width)) < rng.choice([0, 0.3])
            masks.append((abs(x - cx) + abs(y - cy) < r) ^ noise)
            camera.append(c)
    of = np.sort(rng.integers(0, cameras, views))
    size = np.array([(r.width, r.height) for r in rig])[of]
    uv = rng.uniform(-1, 1, (views, 2)) + rng.uniform(0, 1, (views, 2)) * size
    halves = rng.random(views) < 0.2
    uv[halves] = np.floor(uv[halves]) + 0.5
    found = make_views(np.arange(views), of, uv)
    made = make_regions(camera, [rle.encode(mask) for mask in masks], [mask.sum() for mask in masks])
    return found, made, rig, masks


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([200, 200, 3000]))
def test_hits_equal_the_decoded_masks(seed, number):
    views, regions, rig, masks = random_case(seed, views=number)
    found = region_hits(views, regions, rig)
    smallest = view_region(found)
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.region)
    for v in range(len(views)):
        x, y = (int(np.floor(float(coordinate) + 0.5)) for coordinate in views.uv[v])
        under = [
            k
            for k in range(len(regions))
            if regions.camera[k] == views.camera[v]
            and 0 <= y < masks[k].shape[0]
            and 0 <= x < masks[k].shape[1]
            and masks[k][y, x]
        ]
        under.sort(key=lambda k: (masks[k].sum(), k))
        assert found.region[found.offsets[v] : found.offsets[v + 1]].tolist() == under
        assert smallest[v] == (under[0] if under else 65535)


def test_more_hits_than_a_frame_may_have(monkeypatch):
    monkeypatch.setattr(hits, "MOST_HITS", 599)
    codes = [rle.encode(np.ones((4, 5), bool))] * 300
    regions = make_regions([0] * 300, codes, [20] * 300)
    views = make_views([0, 1], [0, 0], [[1, 1], [2, 2]])
    with pytest.raises(ValueError, match=r"300 regions .* 2 points fall in more than 599"):
        region_hits(views, regions, [make_camera(5, 4)])


def test_a_view_in_very_many_regions():
    codes = [rle.encode(np.ones((4, 5), bool))] * 300
    regions = make_regions([0] * 300, codes, [20] * 300)
    hits = region_hits(make_views([0, 1], [0, 0], [[1, 1], [2, 2]]), regions, [make_camera(5, 4)])
    assert hits.region.tolist() == [*range(300)] * 2


def test_nothing_under_nothing():
    camera = make_camera(5, 4)
    one = make_regions([0], [rle.encode(np.ones((4, 5), bool))], [20])
    none = make_regions([], [], [])
    views = make_views([0], [0], [[1, 1]])
    empty = make_views([], [], [])
    for v, r, rig, expected in (
        (empty, one, [camera], []),
        (views, none, [camera], [65535]),
        (empty, none, [], []),
        (make_views([0], [1], [[1, 1]]), one, [camera, camera], [65535]),
    ):
        hits = region_hits(v, r, rig)
        assert len(hits.region) == 0
        assert view_region(hits).tolist() == expected


def test_pixels_beyond_the_image_are_in_no_region():
    regions = make_regions([0], [rle.encode(np.ones((4, 5), bool))], [20])
    uv = [[-0.5, 0], [-0.51, 0], [4.49, 3.49], [4.5, 0], [0, 3.5], [np.nan, 0], [1e30, 0], [0, -1e30]]
    hits = region_hits(make_views(range(8), [0] * 8, uv), regions, [make_camera(5, 4)])
    assert view_region(hits).tolist() == [0, 65535, 0, *[65535] * 5]


def test_a_damaged_code_names_the_camera():
    regions = make_regions([1], [b"zzz"], [20])
    rig = [make_camera(5, 4, name="left"), make_camera(5, 4, name="right")]
    with pytest.raises(ValueError, match="camera right: run-length code 0 of 1"):
        region_hits(make_views([0], [1], [[1, 1]]), regions, rig)


def test_unknown_cameras_are_refused():
    regions = make_regions([1], [rle.encode(np.ones((4, 5), bool))], [20])
    with pytest.raises(ValueError, match="camera 1"):
        region_hits(make_views([0], [0], [[1, 1]]), regions, [make_camera(5, 4)])
    with pytest.raises(ValueError, match="camera 2"):
        region_hits(make_views([0], [2], [[1, 1]]), regions, [make_camera(5, 4)] * 2)
