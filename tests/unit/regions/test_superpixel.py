"""Superpixels are a partition of the image."""

import numpy as np
import pytest
from pycocotools import mask as coco

from labelgen.regions.registry import make_proposer
from labelgen.regions.settings import SuperpixelSettings


@pytest.mark.parametrize("method", ["slic", "felzenszwalb"])
@pytest.mark.parametrize("max_side", [None, 80])
@pytest.mark.parametrize("shape", [(90, 160, 3), (61, 47, 3), (40, 30), (1, 1, 3), (1, 50, 3)])
def test_every_pixel_is_in_exactly_one(shape, max_side, method):
    image = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    config = SuperpixelSettings(superpixel_method=method, superpixel_segments=20, max_side=max_side)
    proposer = make_proposer(config)
    assert proposer.info.name == f"superpixel:{method}"
    regions = proposer.propose(image)
    masks = [coco.decode({"size": list(regions.size), "counts": code}) for code in regions.rle]
    np.testing.assert_array_equal(np.sum(masks, axis=0), np.ones(shape[:2]))
    np.testing.assert_array_equal(regions.area, [mask.sum() for mask in masks])
    for mask, box in zip(masks, regions.box_xyxy, strict=True):
        rows, columns = np.nonzero(mask)
        np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (regions.score == 1).all()


def test_follows_edges_and_is_deterministic(picture):
    config = SuperpixelSettings(superpixel_segments=40, superpixel_sigma=1.0)
    first, second = (make_proposer(config).propose(picture) for _ in range(2))
    assert first.rle == second.rle
    assert 15 <= len(first) <= 60
    truth = np.zeros(picture.shape[:2], bool)
    truth[40:70, 20:60] = True
    masks = [coco.decode({"size": [90, 160], "counts": code}).astype(bool) for code in first.rle]
    inside = np.any([m for m in masks if m[truth].sum() > m.sum() / 2], axis=0)
    assert (inside & truth).sum() / (inside | truth).sum() > 0.9
