"""Classes that the text encoder cannot tell apart are told in a run, too."""

import pytest

from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.core.taxonomy_source import shipped_names
from labelgen.datasets.checks import TextInput, noted_check, text_notes
from labelgen.semantics.openclip import load_open_clip


def taxonomy(*words: str, void=()) -> Taxonomy:
    classes = [
        {"name": f"class{k}", "color": [k, 1, 2], "thing": False, "source": [f"s{k}"], "words": [word]}
        for k, word in enumerate(words)
    ]
    content = {"name": "t", "version": 1, "templates": ["a {}.", "a photo of a {}."], "classes": classes}
    return Taxonomy.from_dict(content | {"void": list(void)}, "t.yaml")


@pytest.fixture(scope="module")
def tokenizer():
    return load_open_clip("demo", None)[1]


def notes(tokenizer, found):
    return list(text_notes(TextInput(found, tokenizer)))


def test_words_that_are_cut_to_the_same(tokenizer):
    start = " ".join("x" * 90)
    (note,) = notes(tokenizer, taxonomy(f"{start} long road", "a car", f"{start} long wall"))
    assert noted_check(note) == "class-texts"
    assert "of class2 and" in note
    assert "of class0 are the same text to the text encoder" in note
    assert "the rest is cut off" in note
    assert len(note) < 450


def test_words_that_differ_in_what_the_tokenizer_drops(tokenizer):
    (note,) = notes(tokenizer, taxonomy("Traffic  sign", "a car", void=("traffic sign",)))
    assert "of void and" in note


def test_many_are_not_all_told(tokenizer):
    start = " ".join("x" * 90)
    assert len(notes(tokenizer, taxonomy(*(f"{start} {k}" for k in range(6))))) == 3


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_taxonomies_are_told_apart(tokenizer, name):
    assert notes(tokenizer, load_taxonomy(name)) == []


def test_equal_words_of_one_class_are_no_harm(tokenizer):
    content = taxonomy("a car", "a road").to_dict()
    content["classes"][0]["words"] = ["x " * 90 + "one", "x " * 90 + "two"]
    assert notes(tokenizer, Taxonomy.from_dict(content, "t.yaml")) == []
