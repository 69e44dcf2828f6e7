"""JSON files of a run, read: of bounded size, checked against a model and their own checksum."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from labelgen.core.errors import UserError
from labelgen.io.seal import json_is_sealed
from labelgen.shards.schema import FORMAT_VERSION

#: Bytes of the largest JSON file that is read.
LARGEST_JSON = 8 << 20
#: Bounds of `plain_json`.
_DEEPEST, _LONGEST_TEXT, _LARGEST_NUMBER = 32, 1 << 16, 2**63
_Model = TypeVar("_Model", bound=BaseModel)


class ChecksumError(ValueError):
    """A file that could be what it should be, but is not as it was written.

    Attributes:
        content: what it says now, which is not to be relied on; None where even that makes no sense.
    """

    def __init__(self, message: str, content: Any = None) -> None:
        super().__init__(message)
        self.content = content


def parse_model(raw: bytes, model: type[_Model], where: str) -> _Model:
    """Parse JSON of bounded size into a model whose ``format_version`` is checked first.

    Raises:
        ValueError: not such a file; the message is one line and names the field.
        ChecksumError: it is one, but not as it was written.
        UserError: written by a later version of labelgen.
    """
    if len(raw) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON} bytes")
    try:
        content = model.model_validate_json(raw)
    except ValidationError as error:
        version = _version(raw)
        if version is not None and version > FORMAT_VERSION:
            later = (
                f"format_version {version}; this labelgen reads up to {FORMAT_VERSION}: install a later one"
            )
            if json_is_sealed(raw) is False:
                raise ChecksumError(f"{later}, or the file is damaged: its checksum differs") from error
            raise UserError(f"{where}: {later}") from error
        raise ValueError(first_error(error)) from error
    sealed = json_is_sealed(raw)
    if sealed is False:
        raise ChecksumError("has changed since it was written: its checksum differs", content)
    if sealed is None:  # what nobody vouches for must not say two things
        json.loads(raw, object_pairs_hook=_unique)
    return content


def first_error(error: ValidationError) -> str:
    """What a model has to say against some content: the first of it, with the field."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason


def plain_json(raw: bytes) -> Any:
    """JSON in which nothing is out of bounds: each key once, no NaN, 64-bit numbers, no endless texts.

    Raises:
        ValueError: something is; the message names where.
    """
    if len(raw) > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON} bytes")
    try:
        content = json.loads(raw, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    for problem in _problems(content, ()):
        raise ValueError(problem)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name}: appears twice")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _problems(value: Any, at: tuple[str, ...]) -> Iterator[str]:
    where = ".".join(at) or "the file"
    if len(at) > _DEEPEST:
        yield f"{where}: nested more than {_DEEPEST} levels deep"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _problems(key, at)
            yield from _problems(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _problems(inner, (*at, str(number)))
    elif isinstance(value, str) and len(value) > _LONGEST_TEXT:
        yield f"{where}: a text of {len(value)} characters; the maximum is {_LONGEST_TEXT}"
    elif isinstance(value, int | float) and not abs(value) < _LARGEST_NUMBER:
        yield f"{where}: a number beyond 64 bits"


def _version(raw: bytes) -> int | None:
    try:
        version = json.loads(raw)["format_version"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return version if type(version) is int else None
