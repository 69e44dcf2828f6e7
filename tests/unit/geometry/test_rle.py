"""Run-length codes against pycocotools, byte for byte, and codes made to break the reader."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from labelgen.geometry import rle

masks = hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def coco_code(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"]


def blobs(seed, height=120, width=200):
    """A mask with long runs, as real ones have."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 6)):
        cx, cy, rx, ry = rng.uniform(0, width), rng.uniform(0, height), *rng.uniform(1, 80, 2)
        mask ^= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
    return mask


@settings(max_examples=200, deadline=None)
@given(masks)
def test_code_equals_cocos_and_decodes_to_the_mask(mask):
    code = rle.encode(mask)
    assert code == coco_code(mask)
    np.testing.assert_array_equal(rle.decode(code, *mask.shape), mask)


@pytest.mark.parametrize("seed", range(20))
def test_large_masks_equal_cocos(seed):
    mask = blobs(seed)
    code = rle.encode(mask)
    assert code == coco_code(mask)
    np.testing.assert_array_equal(rle.decode(code, *mask.shape), mask)
    area, box = rle.area_and_box((code,), *mask.shape)
    assert area[0] == mask.sum()
    x, y, w, h = coco.toBbox({"size": list(mask.shape), "counts": code})
    if mask.any():
        assert box[0].tolist() == [x, y, x + w, y + h]


@settings(max_examples=100, deadline=None)
@given(st.lists(masks, max_size=4).filter(lambda group: len({mask.shape for mask in group}) <= 1))
def test_area_and_box_equal_the_masks(group):
    height, width = group[0].shape if group else (3, 3)
    area, box = rle.area_and_box([rle.encode(mask) for mask in group], height, width)
    assert area.dtype == np.int32
    assert box.dtype == np.float32
    assert box.shape == (len(group), 4)
    for k, mask in enumerate(group):
        y, x = np.nonzero(mask)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]
        assert area[k] == len(x)
        assert box[k].tolist() == expected


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(-1, 5)))
def test_a_label_map_gives_the_codes_of_its_masks(labels):
    codes = rle.encode_labels(labels, 4)
    assert codes == tuple(rle.encode(labels == k) for k in range(4))


def test_no_labels_no_codes():
    assert rle.encode_labels(np.zeros((4, 5), np.int32), 0) == ()
    area, box = rle.area_and_box((), 4, 5)
    assert area.shape == (0,)
    assert box.shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_label_maps_of_any_integer_type_and_layout(dtype):
    labels = np.asfortranarray(np.arange(12).reshape(3, 4) % 3).astype(dtype)[::-1]
    assert rle.encode_labels(labels, 3) == tuple(rle.encode(labels == k) for k in range(3))


def number(value):
    """One number in COCO's alphabet, written down literally."""
    out = b""
    while True:
        group = value & 31
        value >>= 5
        more = value != (-1 if group & 16 else 0)
        out += bytes([group + 48 + 32 * more])
        if not more:
            return out


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (b"", "end before"),
        (b"\x00", "alphabet"),
        (b"\xff\xff", "alphabet"),
        (b"P", "cut off"),
        (b"PPPPPPPPPPPPPPPPPPPP", "too long"),
        (number(11), "end before"),
        (number(13), "beyond"),
        (number(-1) + number(13), "negative"),
        (number(2**34 - 1), "beyond"),
        (number(5) + number(7) + b"0" * 5 + number(1), "beyond"),
        (number(3) * 3 + number(-9), "negative"),
    ],
)
def test_damaged_codes_are_refused(code, problem):
    with pytest.raises(ValueError, match=problem):
        rle.decode(code, 3, 4)


def test_the_damaged_code_is_named():
    good = rle.encode(np.ones((3, 4), bool))
    with pytest.raises(ValueError, match="code 1 of 3"):
        rle.area_and_box((good, good[:-1] + b"\x01", good), 3, 4)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=40) | st.lists(st.integers(48, 111), max_size=40).map(bytes))
def test_any_bytes_are_read_as_a_mask_or_refused(code):
    try:
        mask = rle.decode(code, 5, 7)
    except ValueError:
        return
    expected = coco.decode({"size": [5, 7], "counts": code})
    np.testing.assert_array_equal(mask, expected.astype(bool))


@pytest.mark.parametrize("seed", range(30))
def test_every_truncation_of_a_code_is_refused(seed):
    code = rle.encode(blobs(seed, 40, 50))
    for length in range(len(code)):
        with pytest.raises(ValueError, match="run-length code 0 of 1"):
            rle.decode(code[:length], 40, 50)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5), (2**16, 2**16)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="cannot be"):
        rle.decode(b"0", *size)
