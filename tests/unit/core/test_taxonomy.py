from types import SimpleNamespace

import pytest
import yaml
from nuscenes.eval.lidarseg.utils import LidarsegClassMapper

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import Taxonomy, load_taxonomy


@pytest.fixture
def content():
    return {
        "name": "two",
        "classes": [
            {"name": "a", "color": [1, 2, 3], "thing": True, "source": ["x.a"], "words": ["apple"]},
            {
                "name": "b",
                "color": [4, 5, 6],
                "thing": False,
                "source": ["x.b", "x.c"],
                "words": ["bee", "bug"],
            },
        ],
        "void": ["sky"],
    }


def many(count):
    return [
        {"name": f"c{k}", "color": [k, 7, 9], "thing": False, "source": [f"s{k}"], "words": [f"word {k}"]}
        for k in range(count)
    ]


def test_as_many_classes_as_a_byte_holds_are_read(content):
    assert len(Taxonomy.from_dict(content | {"classes": many(254)})) == 254


def test_nuscenes16_is_the_challenge_set_in_its_order():
    taxonomy = load_taxonomy("nuscenes16")
    assert taxonomy.names[0] == "barrier"
    assert taxonomy.names[10] == "driveable_surface"
    assert taxonomy.names[15] == "vegetation"
    assert [spec.thing for spec in taxonomy.classes] == [True] * 10 + [False] * 6
    assert [spec.id for spec in taxonomy.classes] == list(range(16))


def test_nuscenes16_agrees_with_the_devkit_map_of_general_to_challenge_classes():
    ignore = LidarsegClassMapper.get_ignore_class()
    challenge = LidarsegClassMapper.get_fine2coarse(SimpleNamespace(ignore_class=ignore))
    theirs = {fine: coarse for fine, coarse in challenge.items() if coarse != ignore["name"]}
    taxonomy = load_taxonomy("nuscenes16")
    assert {source: spec.name for spec in taxonomy.classes for source in spec.source} == theirs


def test_train_ids_come_from_the_tables(content):
    taxonomy = Taxonomy.from_dict(content)
    table = taxonomy.train_id_table({"x.a": 7, "x.b": 200, "other": 3})
    assert (table[7], table[200]) == (0, 1)
    assert table[3] == 255
    with pytest.raises(UserError, match=r"x\.a.*class a"):
        taxonomy.train_id_table({"x.b": 1})


def test_round_trip_through_plain_data(content):
    taxonomy = Taxonomy.from_dict(content)
    assert Taxonomy.from_dict(taxonomy.to_dict()) == taxonomy


def test_digest_sees_words_and_not_colours(content):
    before = Taxonomy.from_dict(content).digest()
    content["classes"][0]["color"] = [9, 9, 9]
    assert Taxonomy.from_dict(content).digest() == before
    content["classes"][0]["words"] = ["pear"]
    assert Taxonomy.from_dict(content).digest() != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["classes"][1]["words"].append("Apple"), "in a and in b"),
        (lambda c: c["void"].append("bug"), "in b and in void"),
        (lambda c: c["classes"][0].update(words=[]), "no words"),
        (lambda c: c["classes"][0].update(color=[1, 2]), "color"),
        (lambda c: c["classes"][0].update(color=[1, 2, 999]), "color"),
        (lambda c: c["classes"][1].update(name="a"), "same name"),
        (lambda c: c.update(templates=["no place"]), "template"),
        (lambda c: c.update(classes=[]), "0 classes; 1 to 254"),
        (lambda c: c.update(classes=many(255)), "255 classes; 1 to 254 are allowed"),
        (lambda c: c["classes"][1].update(name="A"), "names that differ only in case, a"),
        (lambda c: c["classes"][1].update(name="Void"), "cannot be named Void"),
        (lambda c: c["classes"][1].update(name="unlabelled"), "cannot be named unlabelled"),
        (lambda c: c["classes"][1].update(name="b\x1b[31m"), r"class 1: .* is not a valid name"),
        (lambda c: c["classes"][1].update(name="\u202eb"), "class 1: .* is not a valid name"),
        (lambda c: c["classes"][1].update(name=" "), "class 1: ' ' is not a valid name"),
        (lambda c: c["classes"][1].update(name="b" * 401), "is not a valid name"),
        (lambda c: c["classes"][1]["source"].append("x.a"), "x.a is in a and in b"),
        (lambda c: c["classes"][1].update(color=[float("nan"), 1, 2]), "color"),
        (lambda c: c["classes"][1].update(color=[True, 1, 2]), "color"),
        (lambda c: c["classes"][1]["words"].append(" "), "the text is empty"),
        (lambda c: c["classes"][1]["words"].append("bee\nbug"), "not a single line"),
        (lambda c: c["classes"][1]["words"].append("b" * 401), "not a single line"),
        (lambda c: c["classes"][1]["words"].extend(f"b{k}" for k in range(5000)), "50.. words; at most 5000"),
        (lambda c: c.update(templates=["{}"] * 1001), "1001 templates"),
        (lambda c: c.update(template=["a {}"]), "'template': did you mean templates"),
        (lambda c: c["classes"][0].update(colour=[1, 2, 3]), "'colour': did you mean color"),
        (lambda c: c.update(version=-1), "version"),
        (lambda c: c.update(name="two\x07"), "no name"),
        (lambda c: c.pop("classes"), "not a taxonomy"),
    ],
)
def test_faulty_files_are_named_with_the_fault(tmp_path, content, change, message):
    change(content)
    path = tmp_path / "faulty.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message) as caught:
        load_taxonomy(str(path))
    assert "faulty.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2", "- just\n- a list", "", "\x00\x01"])
def test_what_is_no_taxonomy_is_refused(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"odd\.yaml"):
        load_taxonomy(str(path))


def test_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match="nuscenes16"):
        load_taxonomy("nuscenes17")
