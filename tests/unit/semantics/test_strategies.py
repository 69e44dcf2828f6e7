"""Captions beside images: which regions get one, and what each strategy makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.frame import Camera
from labelgen.core.records import Regions, Semantics, Views
from labelgen.geometry import rle
from labelgen.semantics.prompts import Vocabulary
from labelgen.semantics.strategies import choose_regions, combine, text_feature

VOCABULARY = Vocabulary(3, np.eye(4, 6, dtype=np.float32), np.arange(4, dtype=np.int32))


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def semantics():
    feature = unit(np.random.default_rng(0).normal(size=(40, 6)))
    scores, label = VOCABULARY.score(feature, 0.3)
    return Semantics(scores, label, feature)


@pytest.fixture
def captions():
    feature = unit(np.random.default_rng(1).normal(size=(40, 6)))
    feature[::3] = 0  # no caption
    return feature


def test_template_leaves_everything(semantics, captions):
    scores, label = combine(semantics, captions, VOCABULARY, "template", 0.5)
    assert scores.tobytes() == semantics.class_scores.tobytes()
    assert label.tobytes() == semantics.label.tobytes()


def test_caption_reads_the_caption_alone(semantics, captions):
    scores, label = combine(semantics, captions, VOCABULARY, "caption", 0.5)
    said, said_label = VOCABULARY.score(captions, 0.5)
    told = captions.any(axis=1)
    np.testing.assert_array_equal(scores[told], said[told])
    np.testing.assert_array_equal(label[told], said_label[told])
    np.testing.assert_array_equal(scores[~told], semantics.class_scores[~told])


def test_both_is_the_sum_of_the_logits(semantics, captions):
    scores, label = combine(semantics, captions, VOCABULARY, "both", 0.5)
    for k in range(40):
        if not captions[k].any():
            assert (scores[k] == semantics.class_scores[k]).all()
            continue
        logits = [
            float(semantics.feature[k].astype(np.float64)[c]) / 0.3
            + float(captions[k].astype(np.float64)[c]) / 0.5
            for c in range(4)
        ]
        p = np.exp(np.array(logits) - max(logits))
        p /= p.sum()
        np.testing.assert_allclose(scores[k], p[:3], atol=1e-2)  # what float16 leaves of the void
        if np.sort(p)[-1] - np.sort(p)[-2] > 0.03:
            assert label[k] == (p.argmax() if p.argmax() < 3 else 255)


def test_the_text_that_stands_for_a_region(semantics, captions):
    whole = replace(semantics, caption_feature=captions, caption=("x",) * 40)
    classes = VOCABULARY.class_embedding()
    template = text_feature(whole, classes, "template").astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(template, axis=1), 1, atol=2e-3)
    caption = text_feature(whole, classes, "caption")
    both = text_feature(whole, classes, "both").astype(np.float64)
    told = captions.any(axis=1)
    np.testing.assert_allclose(caption[told], captions[told], atol=2e-3)
    np.testing.assert_allclose(caption[~told], template[~told], atol=2e-3)
    want = template[told] + captions[told].astype(np.float64)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(both[told], want, atol=3e-3)
    assert (text_feature(semantics, classes, "both") == text_feature(semantics, classes, "template")).all()


def test_regions_without_anything_have_no_text():
    none = Semantics(np.zeros((2, 3), np.float16), np.full(2, 255, np.uint8), np.zeros((2, 6), np.float16))
    assert not text_feature(none, VOCABULARY.class_embedding(), "both").any()


def tiles(count, camera):
    """``count`` columns of 10 x 4 pixels, side by side."""
    codes = []
    for k in range(count):
        mask = np.zeros((10, 40), bool)
        mask[:, 4 * k : 4 * k + 4] = True
        codes.append(rle.encode(mask))
    return codes, [camera] * count


def test_the_top_regions_of_each_image_by_area_and_points():
    codes, cameras = tiles(4, 0)
    more, others = tiles(3, 1)
    K = 7
    regions = Regions(
        np.array(cameras + others, np.uint8),
        np.zeros((K, 4), np.float32),
        np.array([10, 40, 20, 40, 5, 5, 5], np.int32),
        np.ones(K, np.float16),
        np.ones(K, np.float16),
        tuple(codes + more),
    )
    # Points under tiles 0: 9, 1: 1, 2: 3, 3: 2 hidden; second image 0: 0, 1: 1, 2: 2.
    columns = [0] * 9 + [1] + [2] * 3 + [3] * 2 + [1] + [2] * 2
    camera = [0] * 15 + [1] * 3
    V = len(columns)
    visible = np.ones(V, bool)
    visible[13:15] = False
    views = Views(
        np.arange(V, dtype=np.int32),
        np.array(camera, np.uint8),
        np.stack([4 * np.array(columns) + 1, np.full(V, 5)], axis=1).astype(np.float32),
        np.ones(V, np.float32),
        np.zeros(V, np.float32),
        visible,
    )
    eye = np.eye(4)
    frame_cameras = tuple(
        Camera(name, f"{name}.jpg", 40, 10, np.eye(3), eye, timestamp_us=0) for name in ("A", "B")
    )
    # area x points: 90, 40, 60, 0 | 0, 5, 10
    assert choose_regions(regions, views, frame_cameras, 2).tolist() == [0, 2, 5, 6]
    assert choose_regions(regions, views, frame_cameras, 1).tolist() == [0, 6]
    assert choose_regions(regions, views, frame_cameras, 99).tolist() == [0, 1, 2, 5, 6]
    assert choose_regions(Regions.empty(), views, frame_cameras, 5).tolist() == []
