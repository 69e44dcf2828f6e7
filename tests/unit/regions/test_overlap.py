"""From masks to regions, against sets of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.geometry.rle import encode, parse
from labelgen.regions.overlap import choose_regions, covered, paint


def runs_of(masks):
    return parse([encode(mask) for mask in masks], *masks[0].shape)


def block(left, top, right, bottom, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def random_masks(seed, count):
    """Rectangles with holes, near copies and parts of each other."""
    rng = np.random.default_rng(seed)
    masks = []
    while len(masks) < count:
        x, y = rng.integers(0, 28, 2).tolist(), rng.integers(0, 18, 2).tolist()
        mask = block(min(x), min(y), max(x) + 2, max(y) + 2)
        if masks and rng.random() < 0.5:
            mask = masks[rng.integers(len(masks))].copy()
        mask &= rng.random(mask.shape) < rng.choice([1.0, 0.97, 0.6])
        if mask.any():
            masks.append(mask)
    return masks


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 14), ties=st.booleans())
def test_equals_the_rule_on_pixels(seed, count, ties):
    masks = random_masks(seed, count)
    rng = np.random.default_rng(seed)
    score = (rng.integers(0, 3, count) / 4 if ties else rng.random(count)).astype(np.float32)
    rows, parent = choose_regions(runs_of(masks), 20, score, 0.8, 0.9)

    kept = []
    for k in sorted(range(count), key=lambda k: (-score[k], k)):
        if all((masks[k] & masks[j]).sum() < 0.8 * (masks[k] | masks[j]).sum() for j in kept):
            kept.append(k)
    assert rows.tolist() == kept
    for position, k in enumerate(kept):
        larger = [
            (masks[j].sum(), at)
            for at, j in enumerate(kept)
            if (masks[j].sum(), -at) > (masks[k].sum(), -position)
            and (masks[k] & masks[j]).sum() >= 0.9 * masks[k].sum()
        ]
        assert parent[position] == (min(larger)[1] if larger else -1)


def test_parts_know_the_smallest_whole():
    car, wheel, street, other = (
        block(5, 5, 15, 12),
        block(6, 9, 9, 12),
        block(0, 0, 30, 20),
        block(20, 2, 25, 6),
    )
    masks = [street, wheel, car, other]
    rows, parent = choose_regions(runs_of(masks), 20, np.float32([0.9, 0.8, 0.7, 0.6]), 0.9, 0.9)
    np.testing.assert_array_equal(rows, [0, 1, 2, 3])
    np.testing.assert_array_equal(parent, [-1, 2, 0, 0])
    painted = paint(runs_of(masks), (20, 30))
    assert painted.dtype == np.uint16
    assert (painted[10, 7], painted[6, 12], painted[0, 0], painted[3, 22]) == (1, 2, 0, 3)
    holes = paint(runs_of(masks[1:]), (20, 30))
    assert holes[0, 0] == 65535


def test_equal_masks_are_one():
    masks = [block(0, 0, 5, 5), block(0, 0, 5, 5), block(0, 0, 5, 4)]
    rows, parent = choose_regions(runs_of(masks), 20, np.float32([0.5, 0.9, 0.1]), 1.0, 0.9)
    np.testing.assert_array_equal(rows, [1, 2])
    np.testing.assert_array_equal(parent, [-1, 0])


def test_nothing():
    empty = parse([], 20, 30)
    rows, parent = choose_regions(empty, 20, np.zeros(0, np.float32), 0.9, 0.9)
    assert len(rows) == len(parent) == 0
    assert (paint(empty, (20, 30)) == 65535).all()


def test_thousands_of_one_pixel_masks():
    masks = parse([encode(block(k % 30, k // 30, k % 30 + 1, k // 30 + 1)) for k in range(600)] * 4, 20, 30)
    rows, parent = choose_regions(masks, 20, np.ones(2400, np.float32), 0.9, 0.9)
    assert len(rows) == 600
    assert (parent == -1).all()


def test_more_than_a_map_can_number_is_refused():
    ends = np.full(65535, 600, np.int32)
    runs = parse([], 20, 30)._replace(ends=ends, offsets=np.arange(65536))
    with pytest.raises(ValueError, match=r"65535 regions.*the maximum is 65534"):
        paint(runs, (20, 30))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_covered_pixels(seed):
    masks = random_masks(seed, 4)
    pixel = np.random.default_rng(seed).integers(0, 600, 50).astype(np.int32)
    want = np.any([mask[pixel % 20, pixel // 20] for mask in masks], axis=0)
    np.testing.assert_array_equal(covered(runs_of(masks), pixel), want)
