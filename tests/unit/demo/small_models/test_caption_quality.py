"""The measure of captions, on captions whose worth is known."""

import numpy as np
import pytest

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models.pictures import ObjectWords, Picture
from labelgen.demo.small_models.quality import caption_quality

WORDS = {
    1: ObjectWords(1, "flat.terrain", "grass", ("lawn",), "green", "in the street"),
    2: ObjectWords(2, "vehicle.car", "car", ("automobile", "sedan"), "red", "on the grass", "parked"),
    3: ObjectWords(3, "static.manmade", "street lamp", ("lamp post",), "grey", "on the sidewalk"),
    4: ObjectWords(4, "vehicle.car", "van", ("automobile",), "blue", "on the grass", "driving"),
}


@pytest.fixture(scope="module")
def picture():
    """Sky above grass, a car of 2,400 pixels, a lamp of 1,200, and a van of 900, which is too small."""
    objects = np.zeros((200, 300), np.uint16)
    objects[100:] = 1
    objects[80:120, 20:80] = 2
    objects[40:140, 200:212] = 3
    objects[150:180, 250:280] = 4
    return Picture(np.zeros((200, 300, 3), np.uint8), objects, WORDS)


class Parrot:
    """Says of every object what it was told to."""

    info = None

    def __init__(self, said):
        self.said = said

    def caption(self, images, regions, rows=None):
        assert len(images) == 1
        assert len(regions) == 5
        texts = [""] * 5
        for row in rows:
            texts[row] = self.said[int(row)]  # regions come in the order of the objects
        return tuple(texts)


def quality(picture, *said):
    return caption_quality(Parrot(dict(enumerate(said))), [picture], load_taxonomy("nuscenes16"))


def test_all_right(picture):
    got = quality(
        picture,
        "sky",
        "green grass in the street",
        "A parked red sedan on the grass.",
        "grey street lamp on the sidewalk",
    )
    assert got == {
        "noun": 1.0, "own_noun": 1.0, "mean_class": 1.0, "colour": 1.0, "captions": 4, "distinct": 4,
    }  # fmt: skip


def test_the_place_is_not_what_it_is_called(picture):
    got = quality(picture, "cloud", "blue car on the grass", "bus on the grass", "tree on the sidewalk")
    assert got["noun"] == 0.25
    assert got["mean_class"] == 0.0
    assert got["colour"] == 0.0


def test_the_longest_phrase_counts(picture):
    got = quality(picture, "sky", "grass", "traffic cone in a car park", "street lamp")
    assert got["noun"] == 0.75


def test_words_of_the_class_are_right_but_not_the_objects_own(picture):
    got = quality(picture, "sky", "gravel", "red taxi", "grey building")
    assert got["noun"] == 1.0
    assert got["own_noun"] == 0.25


def test_parts_of_words_say_nothing(picture):
    assert quality(picture, "skyline", "grasshopper", "carpet", "")["noun"] == 0.0
