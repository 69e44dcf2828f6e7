"""Region crops against a literal computation, and at the edges."""

import numpy as np
import pytest
from pycocotools import mask as coco

from labelgen.geometry.rle import parse
from labelgen.semantics.crops import region_crop

MEAN = (100.0, 110.0, 120.0)


def crop(image, mask, **settings):
    code = coco.encode(np.asfortranarray(mask, np.uint8))
    x, y, w, h = coco.toBbox(code)
    settings = {"size": 16, "scale": 1.5, "background": 0.5, "mean": MEAN} | settings
    return region_crop(
        image, parse([code["counts"]], *mask.shape).ends, np.float32([x, y, x + w, y + h]), **settings
    )


@pytest.fixture
def image():
    return np.random.default_rng(4).integers(0, 255, (60, 80, 3), np.uint8)


def test_a_crop_at_its_own_size_is_the_image_dimmed(image):
    mask = np.zeros((60, 80), bool)
    mask[20:36, 30:42] = True  # longer side 16 at rows 20..35; scale 1 keeps one pixel per pixel
    got = crop(image, mask, size=16, scale=1.0)
    want = image[20:36, 28:44].astype(np.float64)
    inside = mask[20:36, 28:44, None]
    want = np.where(inside, want, np.asarray(MEAN) + 0.5 * (want - MEAN))
    np.testing.assert_allclose(got, np.floor(want + 0.5), atol=1)


def test_small_regions_get_the_surroundings_that_are_asked_for(image):
    mask = np.zeros((60, 80), bool)
    mask[28:32, 38:42] = True
    np.testing.assert_array_equal(crop(image, mask, least=16, background=1.0), image[22:38, 32:48])
    np.testing.assert_array_equal(crop(image, mask, least=5), crop(image, mask))  # 1.5 x 4 is more


def test_background_one_keeps_and_zero_removes_the_surroundings(image):
    mask = np.zeros((60, 80), bool)
    mask[20:36, 30:42] = True
    np.testing.assert_array_equal(crop(image, mask, scale=1.0, background=1.0), image[20:36, 28:44])
    gone = crop(image, mask, scale=1.0, background=0.0)
    np.testing.assert_array_equal(gone[:, :2], np.broadcast_to(np.uint8(MEAN), (16, 2, 3)))
    np.testing.assert_array_equal(gone[:, 2:14], image[20:36, 30:42])


def test_reduction_is_the_mean_of_the_area():
    image = np.random.default_rng(5).integers(0, 255, (64, 64, 3), np.uint8)
    got = crop(image, np.ones((64, 64), bool), size=32, scale=1.0)
    want = image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(got, want, atol=1)


def test_flat_pictures_stay_flat_at_any_scale():
    image = np.full((50, 70, 3), 77, np.uint8)
    for box in [(0, 0, 50, 70), (10, 10, 11, 11), (49, 69, 50, 70), (5, 0, 9, 70)]:
        mask = np.zeros((50, 70), bool)
        mask[box[0] : box[2], box[1] : box[3]] = True
        for size in (7, 64):
            got = crop(image, mask, size=size, scale=1.0, background=1.0, mean=(77.0, 77.0, 77.0))
            np.testing.assert_array_equal(got, np.full((size, size, 3), 77, np.uint8))


def test_outside_of_the_image_is_the_mean(image):
    mask = np.zeros((60, 80), bool)
    mask[0:10, 0:10] = True
    got = crop(image, mask, size=20, scale=2.0, background=1.0)
    np.testing.assert_array_equal(got[:5], np.broadcast_to(np.uint8(MEAN), (5, 20, 3)))
    np.testing.assert_array_equal(got[:, :5], np.broadcast_to(np.uint8(MEAN), (20, 5, 3)))
    np.testing.assert_array_equal(got[5:, 5:], image[:15, :15])


@pytest.mark.parametrize("pixel", [(0, 0), (59, 79), (0, 79), (30, 30)])
def test_one_pixel(image, pixel):
    mask = np.zeros((60, 80), bool)
    mask[pixel] = True
    got = crop(image, mask, size=8, scale=1.0, background=0.0)
    assert np.abs(got[3:5, 3:5].astype(int).mean(axis=(0, 1)) - image[pixel]).max() < 40
