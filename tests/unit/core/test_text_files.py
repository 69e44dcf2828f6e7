import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labelgen.config import load_config
from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.core.text_files import MOST_ENTRIES, parse_yaml, read_json, read_text, read_yaml
from labelgen.distill.classes import load_class_split
from labelgen.distill.config import load_train_config
from labelgen.labels import calibrate

#: Everything that reads a file of the user's with YAML or JSON in it.
READERS = {
    "configuration": load_config,
    "training": lambda path: load_train_config("slidr", None, path),
    "taxonomy": lambda path: load_taxonomy(str(path)),
    "classes": lambda path: load_class_split(str(path), load_taxonomy("nuscenes16")),
    "calibration": calibrate.load,
}


def bomb(levels: int = 9, width: int = 9) -> str:
    lines = ["a0: &a0 [" + ",".join("x" * width) + "]"]
    lines += [f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * width)}]" for k in range(1, levels)]
    return "\n".join([*lines, f"taxonomy: *a{levels - 1}", ""])


def merged_bomb(levels: int = 9, width: int = 9) -> str:
    lines = ["a0: &a0 {x: 1}"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * width)}]}}")
    return "\n".join(lines)


HARMS = {
    "aliases": bomb().encode(),
    "merged aliases": merged_bomb().encode(),
    "contains itself": b"taxonomy: &a [*a]\n",
    "brackets": b"taxonomy: " + b"[" * 5000,
    "braces": b"{a: " * 5000,
    "dashes": b"- " * 5000,
    "indented": b"\n".join(b" " * k + b"a:" for k in range(2000)),
    "UTF-16": "taxonomy: nuscenes16\n".encode("utf-16"),
    "UTF-16, no mark": "taxonomy: nuscenes16\n".encode("utf-16-le"),
    "Latin-1": "taxonomy: größer\n".encode("latin-1"),
    "tabs": b"regions:\n\tbackend: sam\n",
    "a key twice": b"taxonomy: a\nregions: {}\ntaxonomy: b\n",
    "key of a number": b"1: 2\n",
    "key of a list": b"? [1]\n: 2\n",
    "binary": bytes(range(256)) * 100,
    "image": b"\x89PNG\r\n\x1a\n" + b"\xff" * 1000,
    "control characters": b"taxonomy: \x1b[31mred\n",
    "Python's tag": b"taxonomy: !!python/object/apply:os.system ['true']\n",
    "own tag": b"taxonomy: !mine x\n",
    "no date": b"taxonomy: 2001-99-99\n",
    "no number": b"taxonomy: " + b"9" * 5000 + b"\n",
    "a number of a million digits": b"taxonomy: 0x" + b"f" * 1_000_000 + b"\n",
    "sixties": b"taxonomy: 1" + b":1" * 1_000_000 + b"\n",
    "two documents": b"taxonomy: a\n---\ntaxonomy: b\n",
    "a list": b"- a\n- b\n",
    "a word": b"taxonomy",
    "too long": b"taxonomy: a\n" + b"# more\n" * 1_000_000,
    "an entry a line": b"".join(b"k%d: 1\n" % k for k in range(MOST_ENTRIES)),
    "anchors": b"".join(b"k%d: &a%d 1\n" % (k, k) for k in range(50_000)),
    "JSON's brackets": b'{"table": ' + b"[" * 100_000,
    "NaN": b'{"format": "labelgen-calibration", "table": NaN}',
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmful_file_is_one_line_with_its_name(tmp_path, reader, harm):
    path = tmp_path / "mine.yaml"
    path.write_bytes(HARMS[harm])
    with pytest.raises(UserError, match=r"mine\.yaml") as caught:
        READERS[reader](path)
    assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_not_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", tmp_path / "missing", tmp_path / "zero"):
        if path.name == "zero":
            path.symlink_to("/dev/zero")
        with pytest.raises(UserError, match=path.name):
            READERS[reader](path)


def test_a_file_of_any_size_costs_its_limit(tmp_path):
    path = tmp_path / "large.yaml"
    path.touch()
    os.truncate(path, 1 << 40)  # no disk holds it
    with pytest.raises(
        UserError, match=r"large\.yaml: larger than 4,194,304 bytes, too large to be a valid configuration"
    ):
        read_text(path, "configuration")


def test_the_line_is_named():
    for text, line in (("a: 1\nb: {c: 1,\n c: 2}", 3), ("a: 1\n\nb: [\n", 4), ("a:\n  - b\n  - {1: 2}", 3)):
        with pytest.raises(UserError, match=f"^mine:{line}: "):
            parse_yaml(text, "mine")
    source = parse_yaml("a:\n  - b\n  - c: 1\n    d: 2\n", "mine")
    assert source.where(("a", 1, "d")) == "mine:4"
    assert source.where(("a", 1, "nothing")) == "mine:3"
    assert source.where(("else",)) == "mine:1"


def test_a_mark_of_byte_order_is_no_content(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("taxonomy: größer\n".encode("utf-8-sig"))
    assert read_yaml(path, "configuration").data == {"taxonomy": "größer"}


def test_what_an_anchor_holds_changes_in_one_place(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("regions: &same {max_side: 64}\ndemo: {<<: {seed: 1}}\n")
    assert load_config(path, ["regions.max_side=65"]).regions.max_side == 65
    source = read_yaml(path, "configuration")
    assert source.data["demo"] == {"seed": 1}, "keys are merged"


DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(max_size=20)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


@given(DATA)
def test_plain_data_come_back(data):
    assert parse_yaml(yaml.safe_dump(data), "mine").data == data


def test_json_is_held_to_its_rules(tmp_path):
    path = tmp_path / "mine.json"
    for text in (
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        "[" * 100_000,
        "",
        '{"a": Infinity}',
        "\ufeff",
        "9" * 5000,
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=r"mine\.json"):
            read_json(path, "table")
    path.write_text('\ufeff{"a": [1, null]}', "utf-8")
    assert read_json(path, "table") == {"a": [1, None]}
