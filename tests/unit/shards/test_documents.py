"""JSON that somebody made to hurt its reader is one line, and small in memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from labelgen.core.errors import UserError
from labelgen.io.seal import sealed_json
from labelgen.shards.documents import LARGEST_JSON, ChecksumError, parse_model, plain_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e18, 1e18) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_plain_content_is_read_as_it_is(content: object) -> None:
    assert plain_json(json.dumps(content).encode()) == content


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


BAD: dict[str, tuple[bytes, str]] = {
    "a key twice": (b'{"x": {"car": 1, "road": 2, "car": 3}}', "car: appears twice"),
    "NaN": (b'{"x": NaN}', "NaN is not a JSON number"),
    "infinity": (b'{"x": [1, -Infinity]}', "Infinity is not a JSON number"),
    "an exponent": (b'{"x": [0, 1e999]}', "x.1: a number beyond 64 bits"),
    "a huge number": (b'{"x": {"y": 1' + b"0" * 400 + b"}}", "x.y: a number beyond 64 bits"),
    "a number without an end": (b'{"x": ' + b"9" * 100_000 + b"}", "Exceeds the limit"),
    "a long text": (b'{"x": "' + b"a" * 100_000 + b'"}', "x: a text of 100000 characters"),
    "a long key": (b'{"' + b"a" * 100_000 + b'": 1}', "a text of 100000 characters"),
    "nesting": (deep(40), "nested more than 32 levels deep"),
    "nesting without an end": (b"[" * 1_000_000, "nested too deeply"),
    "no JSON": (b'{"x": ', "Expecting value"),
    "no UTF-8": (b'{"x": "\xff"}', "utf-8"),
    "too large": (b" " * (LARGEST_JSON + 1), "more than 8388608 bytes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_out_of_bounds_is_named(kind: str) -> None:
    raw, said = BAD[kind]
    with pytest.raises(ValueError, match=said):
        plain_json(raw)


def test_many_small_things_take_no_more_than_they_may() -> None:
    tracemalloc.start()
    plain_json(b"[" + b"[]," * ((LARGEST_JSON - 4) // 3) + b"1]")
    assert tracemalloc.get_traced_memory()[1] < 250 << 20
    tracemalloc.stop()


class Note(BaseModel):
    """Some model."""

    format_version: int = 1
    text: str


def parse(content: dict[str, Any], **change: object) -> Note:
    raw = sealed_json(content)
    for old, new in change.items():
        raw = raw.replace(old.encode(), str(new).encode())
    return parse_model(raw, Note, "note.json")


def test_a_model_of_a_file_that_is_as_it_was_written() -> None:
    assert parse({"text": "a"}) == Note(text="a")
    assert parse_model(b'{"text": "a"}', Note, "note.json") == Note(text="a")
    with pytest.raises(ChecksumError, match="checksum") as caught:
        parse({"text": "road"}, road="toad")
    assert caught.value.content == Note(text="toad")
    with pytest.raises(ValueError, match=r"text: Input should be a valid string") as wrong:
        parse({"text": 3})
    assert not isinstance(wrong.value, ChecksumError)
    with pytest.raises(ValueError, match="text: appears twice"):
        parse_model(b'{"text": "a", "text": "b"}', Note, "note.json")


def test_a_later_version_is_told_from_a_flipped_bit() -> None:
    class Strict(Note):
        format_version: int = Field(1, le=1)

    raw = sealed_json({"format_version": 3, "text": "a"})
    with pytest.raises(UserError, match=r"note.json: format_version 3.*install a later one"):
        parse_model(raw, Strict, "note.json")
    flipped = sealed_json({"format_version": 1, "text": "a"}).replace(b'version": 1', b'version": 3')
    with pytest.raises(ChecksumError, match=r"install a later one, or the file is damaged"):
        parse_model(flipped, Strict, "note.json")
