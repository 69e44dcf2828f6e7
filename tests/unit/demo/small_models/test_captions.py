"""What the demo CLIP may read, and what is held out."""

import pytest

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models.captions import (
    HELD_OUT_COLOURS,
    HELD_OUT_WORDS,
    TEMPLATES,
    caption,
    class_of,
    colour_is_held_out,
    phrases_of,
)
from labelgen.demo.small_models.pictures import words_of
from labelgen.demo.world import City


@pytest.fixture(scope="module")
def taxonomy():
    return load_taxonomy("nuscenes16")


@pytest.fixture(scope="module")
def everything_said():
    """Words for all objects of some training cities."""
    cities = [City(seed) for seed in range(12)]
    return [words_of(city, key) for city in cities for key in city.items]


def test_held_out_words_are_never_read_but_made_of_read_words(taxonomy, everything_said):
    phrases = {phrase for words in everything_said for phrase in phrases_of(words, taxonomy)}
    colours = {words.colour for words in everything_said} | {words.action for words in everything_said}
    places = {words.place for words in everything_said}
    read = {part for text in phrases | colours | places for part in text.split()} | {"a", "on", "of"}
    for name, words in HELD_OUT_WORDS.items():
        assert name in taxonomy.names
        for word in words:
            assert word not in phrases
            assert set(word.split()) <= read, f"{word}: a part of it is never read"
    assert set(HELD_OUT_WORDS) == set(taxonomy.names)


def test_every_word_of_the_taxonomy_but_the_held_out_is_read(taxonomy, everything_said):
    phrases = {phrase for words in everything_said for phrase in phrases_of(words, taxonomy)}
    hidden = {word for words in HELD_OUT_WORDS.values() for word in words}
    for spec in taxonomy.classes:
        assert set(spec.words) - hidden <= phrases, spec.name


def test_no_phrase_means_two_classes(taxonomy, everything_said):
    owner = {}
    for words in everything_said:
        number = class_of(words.category, taxonomy)
        if number >= 0:
            for phrase in phrases_of(words, taxonomy):
                assert owner.setdefault(phrase, number) == number, phrase


def test_only_those_with_a_rider_are_ridden(taxonomy, everything_said):
    bicycles = [words for words in everything_said if words.category == "vehicle.bicycle"]
    ridden = [any("riding" in phrase for phrase in phrases_of(words, taxonomy)) for words in bicycles]
    assert any(ridden)
    assert not all(ridden)


def test_held_out_colours(taxonomy):
    assert colour_is_held_out("green", "vehicle.truck", taxonomy)
    assert not colour_is_held_out("green", "vehicle.car", taxonomy)
    assert not colour_is_held_out("green", "animal", taxonomy)
    assert {name for _, name in HELD_OUT_COLOURS} <= set(taxonomy.names)


def test_captions():
    assert caption("a {}.", "bus") == "a bus."
    assert caption("a {}.", "bus", "red", "on the road", "driving") == "a driving red bus on the road."
    assert all(template.count("{}") == 1 for template in TEMPLATES)
