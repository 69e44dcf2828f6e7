"""Files that carry their own checksum, so that a flipped bit is noticed when one is read.

The checksum is the BLAKE2b (128 bits, 32 hexadecimal digits) of the file's bytes with 32 zeros in its own
place. A JSON file has it as its last field, a Parquet file between its data and its footer, where readers of
Parquet do not look. A file without one is an older one, or somebody's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: The field of a JSON file.
CHECKSUM = "checksum"
_ZEROS = b"0" * 32
_DIGITS = re.compile(rb"[0-9a-f]{32}")
#: A last field named so, or one with such a value, whose name is damaged.
_LAST_FIELD = re.compile(rb'"(?:checksum"\s*:\s*"([^"\\]*)|[^"]{1,16}"\s*:\s*"[0-9a-f]{32})"\s*\}\s*\Z')
#: What stands before the digits in a Parquet file; the footer ends with its length and four letters.
_TAG, _TAIL = b"labelgen-checksum:", 8


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """A JSON file that ends with its checksum."""
    text = json.dumps({**content, CHECKSUM: _ZEROS.decode()}, ensure_ascii=False, indent=1) + "\n"
    raw = text.encode()
    return _with_digest(raw, raw.rindex(_ZEROS))


def json_is_sealed(raw: bytes) -> bool | None:
    """Whether a JSON file's checksum is right; None if it carries none.

    A file that was only laid out anew (indents, blanks) is right, too.
    """
    found = _LAST_FIELD.search(raw, max(0, len(raw) - 256))
    if found is None:
        return None
    if found[1] is None or len(found[1]) != len(_ZEROS):
        return False
    if _with_digest(raw, found.start(1)) == raw:
        return True
    try:
        content = json.loads(raw)
        again = sealed_json({name: value for name, value in content.items() if name != CHECKSUM})
    except (ValueError, RecursionError, AttributeError):
        return False
    last = _LAST_FIELD.search(again)
    return last is not None and last[1] == found[1]


def sealed_parquet(table: pa.Table) -> bytes:
    """A Parquet file, compressed by zstd, with its checksum."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    footer = _footer(content)
    return _with_digest(content[:footer] + _TAG + _ZEROS + content[footer:], footer + len(_TAG))


def parquet_is_sealed(content: Buffer) -> bool | None:
    """Whether a Parquet file's checksum is right; None if it carries none."""
    with memoryview(content) as view:
        at = _footer(view) - len(_ZEROS)
        if at < len(_TAG):
            return None
        tagged = view[at - len(_TAG) : at] == _TAG
        if not tagged and not _DIGITS.fullmatch(view, at, at + len(_ZEROS)):
            return None
        return tagged and view[at : at + len(_ZEROS)] == _digest(view, at)


def _footer(content: Buffer) -> int:
    """Where a Parquet file's footer begins."""
    with memoryview(content) as view:
        return len(view) - _TAIL - int.from_bytes(view[-_TAIL:-4], "little")


def _with_digest(content: bytes, at: int) -> bytes:
    """The content with the digits at a place, whatever stands there now."""
    return content[:at] + _digest(content, at) + content[at + len(_ZEROS) :]


def _digest(content: Buffer, at: int) -> bytes:
    """Checksum of a content that holds it at a place."""
    with memoryview(content) as view:
        found = hashlib.blake2b(view[:at], digest_size=16)
        found.update(_ZEROS)
        found.update(view[at + len(_ZEROS) :])
    return found.hexdigest().encode()
