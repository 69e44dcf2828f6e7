"""Splits of classes into base and novel: the papers', one's own, and what is wrong with them."""

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.distill.classes import ClassSplit, load_class_split

NOVEL = {
    "nuscenes-b12n4": {"bus", "pedestrian", "motorcycle", "vegetation"},
    "nuscenes-b11n5": {"bicycle", "car", "construction_vehicle", "terrain", "manmade"},
    "semantickitti-b14n5": {"bicycle", "truck", "sidewalk", "building", "trunk"},
    "all": set(),
}


@pytest.mark.parametrize(
    ("name", "taxonomy", "base"),
    [
        ("nuscenes-b12n4", "nuscenes16", 12),
        ("nuscenes-b12n4", "nuscenes16-uov", 12),
        ("nuscenes-b11n5", "nuscenes16", 11),
        ("nuscenes-b11n5", "nuscenes16-uov", 11),
        ("semantickitti-b14n5", "semantickitti19", 14),
        ("all", "nuscenes16", 16),
        ("all", "semantickitti19", 19),
    ],
)
def test_the_papers_splits(name, taxonomy, base):
    classes = load_taxonomy(taxonomy)
    split = load_class_split(name, classes)
    assert {classes.names[k] for k in split.novel} == NOVEL[name]
    assert (split.name, len(split.base)) == (name, base)
    assert sorted((*split.base, *split.novel)) == list(range(len(classes)))
    assert np.flatnonzero(split.is_novel()).tolist() == list(split.novel)
    assert not split.is_novel()[255]


def test_a_file_of_one_s_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("novel: [truck, car]\n")
    classes = load_taxonomy("nuscenes16")
    split = load_class_split(str(file), classes)
    assert split == ClassSplit("mine", tuple(k for k in range(16) if k not in (3, 9)), (3, 9))


EVERY = ", ".join(load_taxonomy("nuscenes16").names)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"novel: [car]\nbase: [{EVERY}]", r"mine\.yaml: class 'car' is both base and novel"),
        ("novel: [car]\nbase: [bus]", r"mine\.yaml: class 'barrier' .* is neither base nor novel"),
        ("novel: [tram]", r"mine\.yaml: class 'tram' is not a class of taxonomy nuscenes16: barrier"),
        (f"novel: []\nbase: [{EVERY}, tram]", "class 'tram' is not a class"),
        ("novel: [car, car]", r"mine\.yaml: class 'car' is named twice"),
        (f"novel: [{EVERY}]", r"mine\.yaml: no base class.*'barrier'"),
        ("novel: car", r"mine\.yaml: novel: a list, each a text is expected, not 'car'"),
        ("novel: [1]", r"mine\.yaml: novel: a list, each a text is expected, not 1"),
        ("base: [car]", r"mine\.yaml: novel: it is missing"),
        (
            "novel: []\nunknown: [car]",
            r"mine\.yaml: unknown: there is no such .*; choose from base, novel",
        ),
        ("[car]", r"mine\.yaml: a mapping"),
        ("1: [car]", r"mine\.yaml:1: the key '1' is not text"),
        ("", r"mine\.yaml: a mapping"),
        ("novel: [", r"mine\.yaml:\d: not valid YAML"),
        ("novel: []" + " " * 70_000, r"mine\.yaml: larger than 65,536 bytes"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, word):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=word):
        load_class_split(str(file), load_taxonomy("nuscenes16"))


def test_a_split_of_another_data_set_and_none_at_all():
    with pytest.raises(UserError, match=r"semantickitti-b14n5\.yaml: class 'other-vehicle' is not a class"):
        load_class_split("semantickitti-b14n5", load_taxonomy("nuscenes16"))
    with pytest.raises(UserError, match=r"'b12' is neither a file nor one of all, nuscenes-b11n5"):
        load_class_split("b12", load_taxonomy("nuscenes16"))
