"""Superpixels beside the masks of another backend."""

import numpy as np
import pytest

from labelgen.geometry import rle
from labelgen.regions import describe_proposer, join_cameras, make_proposer
from labelgen.regions.base import Prompts, regions_of_labels
from labelgen.regions.joined import JoinedProposer
from labelgen.regions.settings import SamSettings, SuperpixelSettings
from labelgen.regions.superpixel import SuperpixelProposer


class Halves:
    """Cuts every image into a left and a right half."""

    info = SuperpixelProposer(SuperpixelSettings()).info

    def propose(self, image, prompts=None):
        return regions_of_labels(
            np.arange(image.shape[1])[None].repeat(image.shape[0], 0) * 2 // image.shape[1], 2
        )

    def propose_frame(self, images, prompts=None):
        return [None if image is None else self.propose(image) for image in images]


@pytest.fixture
def image():
    rng = np.random.default_rng(3)
    return (rng.integers(0, 40, (60, 90, 3)) + 60 * (np.arange(90)[None, :, None] // 30)).astype(np.uint8)


def test_both_kinds_of_regions_are_there_and_scored_apart(image):
    slic = SuperpixelProposer(SuperpixelSettings(superpixel_segments=20))
    joined = JoinedProposer(Halves(), slic, score=0.25)
    alone = slic.propose(image)
    got = joined.propose(image)
    assert got.rle == Halves().propose(image).rle + alone.rle
    np.testing.assert_array_equal(got.score, np.r_[1, 1, np.full(len(alone), 0.25)].astype(np.float16))
    np.testing.assert_array_equal(got.area[2:], alone.area)
    frame = joined.propose_frame([image, None, image], [Prompts()] * 3)
    assert frame[1] is None
    assert len(join_cameras(frame)) == 2 * len(got)


def test_superpixels_without_a_point_are_left_out(image):
    slic = SuperpixelProposer(SuperpixelSettings(superpixel_segments=20))
    joined, alone = JoinedProposer(Halves(), slic, score=0.25), slic.propose(image)
    uv = np.array([[3.4, 5.0], [3.0, 5.4], [70.6, 40.0], [-0.6, 2.0], [90.0, 60.0]], np.float32)
    masks = [rle.decode(code, 60, 90) for code in alone.rle]
    want = tuple(code for code, mask in zip(alone.rle, masks, strict=True) if mask[5, 3] or mask[40, 71])
    assert 1 <= len(want) <= 2
    for prompts, kept in (
        (Prompts(projected=uv), want),
        (Prompts(projected=uv[:0]), ()),
        (Prompts(uv=uv[:0]), alone.rle),
    ):
        got = joined.propose_frame([image], [prompts])[0]
        assert got.rle == (*Halves().propose(image).rle, *kept)
        assert joined.propose(image, prompts).rle == got.rle
        np.testing.assert_array_equal(got.area, [rle.decode(code, 60, 90).sum() for code in got.rle])
        np.testing.assert_array_equal(got.score[2:], np.float16(0.25))


def test_the_configuration_joins_and_the_record_says_so(image):
    config = SamSettings(model="demo", superpixel_score=0.2, superpixel_segments=10)
    proposer = make_proposer(config, "cpu", 1)
    assert proposer.info == describe_proposer(config)
    assert proposer.info.name.startswith("sam:demo+superpixel")
    assert proposer.info.weights
    got = proposer.propose_frame([image])[0]
    assert (got.score == np.float16(0.2)).any()


def test_superpixels_alone_are_not_joined():
    config = SuperpixelSettings()
    assert isinstance(make_proposer(config), SuperpixelProposer)
    assert describe_proposer(config) == SuperpixelProposer(config).info
