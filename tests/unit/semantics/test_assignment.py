"""Classes by the pixels' majority, against counting decoded pixels."""

import numpy as np
import pytest

from labelgen.geometry.rle import encode
from labelgen.semantics.assignment import majority, pixel_classes
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.prompts import Vocabulary, normalise

WORDS = normalise(np.eye(4, 6).astype(np.float32))


@pytest.fixture
def vocabulary():
    """Two classes, the first with two words, and void."""
    return Vocabulary(2, WORDS, np.array([0, 0, 1, 2], np.int32))


def test_pixels_of_a_cell_take_its_best_words_class(vocabulary):
    words = np.array([[0, 2, 1], [3, 1, 2]])
    dense = DenseMap(WORDS[words].astype(np.float16), (80, 120))
    got = pixel_classes(dense, vocabulary)
    assert got.shape == (80, 120)
    for i in range(2):
        for j in range(3):
            middle = got[i * 40 + 10 : i * 40 + 30, j * 40 + 10 : j * 40 + 30]
            assert (middle == vocabulary.word_class[words[i, j]]).all()


def test_the_border_of_two_cells_lies_between_them(vocabulary):
    dense = DenseMap(WORDS[[[0, 2]]].astype(np.float16), (40, 80))
    got = pixel_classes(dense, vocabulary)
    assert (got[:, :40] == 0).all()
    assert (got[:, 40:] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 900)])
def test_images_smaller_than_their_grid(vocabulary, size):
    dense = DenseMap(np.repeat(WORDS[[[2]]], 12, axis=1).reshape(3, 4, 6).astype(np.float16), size)
    np.testing.assert_array_equal(pixel_classes(dense, vocabulary), np.ones(size, int))


def test_majority_counts_the_masks_pixels():
    rng = np.random.default_rng(0)
    classes, masks = rng.integers(0, 4, (30, 50)), rng.random((6, 30, 50)) < 0.2
    share, label = majority([encode(mask) for mask in masks], classes, 3)
    for k, mask in enumerate(masks):
        counts = np.bincount(classes[mask], minlength=4)
        np.testing.assert_array_equal(share[k], (counts[:3] / mask.sum()).astype(np.float16))
        assert label[k] == (255 if counts.argmax() == 3 else counts.argmax())


def test_a_ragged_map_gives_a_region_one_class():
    """What it is for: a minority of wrong pixels has no effect."""
    classes = np.zeros((20, 20), np.int64)
    classes[::3] = 1
    mask = np.ones((20, 20), bool)
    share, label = majority([encode(mask)], classes, 2)
    assert label[0] == 0
    np.testing.assert_allclose(share[0], [0.65, 0.35], atol=1e-3)


def test_void_and_nothing_have_no_class():
    classes = np.full((4, 4), 2)
    share, label = majority([encode(np.ones((4, 4), bool)), encode(np.zeros((4, 4), bool))], classes, 2)
    np.testing.assert_array_equal(label, [255, 255])
    assert not share.any()
