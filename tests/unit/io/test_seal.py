"""Files with a checksum of themselves: what is written is right, and no bit flips unnoticed."""

from __future__ import annotations

import hashlib
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from labelgen.io.seal import json_is_sealed, parquet_is_sealed, sealed_json, sealed_parquet

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENT = {"format": "x", "names": ["a\u00e9", '"'], "seconds": 1.5e-7, "nested": {"checksum": "0" * 32}}


def by_hand(raw: bytes, at: int) -> bytes:
    return hashlib.blake2b(raw[:at] + b"0" * 32 + raw[at + 32 :], digest_size=16).hexdigest().encode()


@given(st.dictionaries(st.text(), values, max_size=5))
def test_json_that_is_sealed(content: dict[str, object]) -> None:
    content.pop("checksum", None)
    raw = sealed_json(content)
    assert json_is_sealed(raw)
    read = json.loads(raw)
    digits = read.pop("checksum")
    assert read == content
    assert by_hand(raw, raw.rindex(digits.encode())) == digits.encode()
    for layout in ({"indent": 4}, {"separators": (",", ":"), "ensure_ascii": False}):
        assert json_is_sealed(json.dumps(read | {"checksum": digits}, **layout).encode())


def test_no_bit_of_json_flips_unnoticed() -> None:
    raw = sealed_json(CONTENT)
    for at in range(len(raw)):
        for bit in range(8):
            bad = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
            try:
                changed = json.loads(bad) != json.loads(raw)
            except ValueError:
                continue  # no JSON any more: that is noticed, too
            assert not changed or json_is_sealed(bad) is False, (at, bit, bad[at - 5 : at + 5])


def test_json_without_a_checksum_of_its_own() -> None:
    for content in (
        {},
        {"a": {"checksum": "0" * 32}},
        {"checksum": "0" * 32, "a": 1},
        [1],
        {"sum": "0" * 31},
    ):
        assert json_is_sealed(json.dumps(content).encode()) is None
    assert json_is_sealed(b"") is None
    assert json_is_sealed(b'"checksum": "' + b"[" * 100_000) is None
    assert json_is_sealed(b'{"a": ' + b"[" * 100_000 + b'"checksum": "' + b"0" * 32 + b'"}') is False


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    columns = {"id": [f"frame-{n}" for n in range(50)], "value": rng.normal(size=50)}
    return pa.table(columns).replace_schema_metadata({"labelgen": '{"dataset": "mine"}'})


def test_parquet_that_is_sealed_is_parquet_for_all() -> None:
    content = sealed_parquet(table())
    assert content == sealed_parquet(table())
    assert parquet_is_sealed(content)
    assert pq.read_table(pa.BufferReader(content)).equals(table(), check_metadata=True)
    (found,) = re.finditer(rb"labelgen-checksum:([0-9a-f]{32})", content)
    assert by_hand(content, found.start(1)) == found[1]


def test_no_bit_of_parquet_flips_unnoticed() -> None:
    content, rng = sealed_parquet(table()), np.random.default_rng(0)
    tag = content.index(b"labelgen-checksum:")
    for at in range(len(content)):
        bad = content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]
        noticed = parquet_is_sealed(bad) is False
        in_the_length_of_the_footer = len(content) - 8 <= at < len(content) - 4
        assert noticed or in_the_length_of_the_footer or tag <= at < tag + 18
    for cut in range(len(content)):
        assert parquet_is_sealed(content[:cut]) is not True


def test_parquet_that_others_wrote_or_write_anew_carries_none() -> None:
    for source in (table(), pq.read_table(pa.BufferReader(sealed_parquet(table())))):
        file = io.BytesIO()
        pq.write_table(source, file)
        assert parquet_is_sealed(file.getvalue()) is None
    assert parquet_is_sealed(b"") is None
    assert parquet_is_sealed(b"PAR1") is None
