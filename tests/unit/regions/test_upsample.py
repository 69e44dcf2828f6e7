"""Run lengths from low-resolution logits against logits upsampled in full."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.geometry.rle import decode, to_codes
from labelgen.regions.masks import join_ends
from labelgen.regions.upsample import Window, axis, trace


def upsampled(logits, side, used, size):
    """(M, H, W) as `Sam.postprocess_masks` does it; logits are (M, w, h)."""
    field = torch.from_numpy(logits).transpose(1, 2)[:, None]
    field = F.interpolate(field, (side, side), mode="bilinear", align_corners=False)
    field = field[..., : used[0], : used[1]]
    return F.interpolate(field, size, mode="bilinear", align_corners=False)[:, 0].numpy()


def traced(logits, side, used, size, window=None):
    rows, columns = (axis((logits.shape[2], side, size[k]), used=used[k]) for k in (0, 1))
    cut = np.ascontiguousarray(logits[:, : columns.logits, : rows.logits])
    window = window or Window(0, 0, size[1], size[0])
    ends, stability = trace(cut, columns, rows, window)
    codes = to_codes(join_ends(ends))
    return [decode(code, window.height, window.width) for code in codes], stability, ends


def smooth(rng, count, low, detail):
    """Random blobs; ``detail`` 1 is noise, larger is smoother."""
    coarse = rng.normal(size=(count, 1, -(-low // detail) + 1, -(-low // detail) + 1)).astype(np.float32)
    field = F.interpolate(torch.from_numpy(coarse), (low, low), mode="bicubic", align_corners=False)
    return (3 * field[:, 0].numpy() + rng.uniform(-3, 3)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    low=st.sampled_from([8, 16, 28]),
    factor=st.sampled_from([2, 4]),
    detail=st.sampled_from([1, 3, 8]),
    data=st.data(),
)
def test_equals_full_upsampling(seed, low, factor, detail, data):
    side = low * factor
    longer = data.draw(st.sampled_from([0, 1]))
    used = [side, data.draw(st.integers(1, side))]
    size = [data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))]
    logits = smooth(np.random.default_rng(seed), 3, low, detail)
    used = used if longer else used[::-1]
    want = upsampled(logits, side, used, size)
    masks, stability, ends = traced(logits, side, used, size)
    for k in range(3):
        sure = np.abs(want[k]) > 1e-4  # on the threshold itself, rounding decides
        np.testing.assert_array_equal(masks[k][sure], (want[k] > 0)[sure])
        assert (np.diff(ends[k][1:]) > 0).all(), "no empty runs"
        assert ends[k][-1] == size[0] * size[1]
    if not (np.abs(np.abs(want) - 1) < 1e-4).any():
        inner, outer = (want > 1).sum((1, 2)), (want > -1).sum((1, 2))
        np.testing.assert_allclose(
            stability, np.where(outer > 0, inner / np.maximum(outer, 1), np.nan), rtol=1e-6
        )


@pytest.mark.parametrize("corner", [(0, 0), (3, 0), (0, 5), (7, 4)])
def test_crops_lie_where_they_were_cut(corner):
    left, top = corner
    logits = smooth(np.random.default_rng(7), 4, 16, 3)
    want = upsampled(logits, 32, (32, 20), (40, 30)) > 0
    for extra in (0, 6):
        window = Window(left, top, left + 30 + extra, top + 40 + extra)
        masks, _, _ = traced(logits, 32, (32, 20), (40, 30), window)
        for mask, inner in zip(masks, want, strict=True):
            whole = np.zeros((window.height, window.width), bool)
            whole[top : top + 40, left : left + 30] = inner
            np.testing.assert_array_equal(mask, whole)


def test_full_empty_and_not_a_number():
    logits = np.full((4, 8, 8), 5, np.float32)
    logits[1] = -5
    logits[2] = np.nan
    logits[3, :, :4] = np.nan
    masks, stability, ends = traced(logits, 16, (16, 16), (24, 24))
    assert masks[0].all()
    assert not masks[1].any()
    assert not masks[2].any()
    assert not masks[3][:8].any()
    assert masks[3][16:].all()
    np.testing.assert_array_equal(stability[:3], [1, np.nan, np.nan])
    np.testing.assert_array_equal(ends[0], [0, 576])
    np.testing.assert_array_equal(ends[1], [576])


def test_one_pixel():
    logits = np.full((1, 8, 8), -9, np.float32)
    logits[0, 5, 2] = 9
    masks, _, _ = traced(logits, 16, (16, 16), (8, 8))
    np.testing.assert_array_equal(np.argwhere(masks[0]), [[2, 5]])


def test_threads_change_nothing():
    from concurrent.futures import ThreadPoolExecutor

    logits = smooth(np.random.default_rng(1), 9, 16, 3)
    rows = columns = axis((16, 32, 50), used=32)
    with ThreadPoolExecutor(2) as pool:
        many = trace(logits, columns, rows, Window(0, 0, 50, 50), pool=pool, threads=2)
    one = trace(logits, columns, rows, Window(0, 0, 50, 50))
    assert len(many[0]) == len(one[0]) == 9
    for a, b in zip(many[0], one[0], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(many[1], one[1])
    assert trace(logits[:0], columns, rows, Window(0, 0, 50, 50))[0] == []
