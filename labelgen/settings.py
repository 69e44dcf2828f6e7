"""Settings that a user wrote, in files and as ``section.field=value``: read, and checked in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from labelgen.errors import UserError
from labelgen.text_files import At, Source, parse_yaml, read_yaml
from labelgen.wording import brief

Settings = TypeVar("Settings", bound=BaseModel)
#: Bytes of the longest override.
_LONGEST = 1 << 16
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){0,7}")


def read_settings(path: Path) -> Source:
    """Read a YAML file of settings; an empty one holds none.

    Raises:
        UserError: it cannot be read, or is no mapping; names the file, and the line where it can.
    """
    return as_settings(read_yaml(path, "configuration"))


def as_settings(source: Source) -> Source:
    """The same, a mapping.

    Raises:
        UserError: it holds something else.
    """
    if not isinstance(source.data, dict | None):
        raise UserError(f"{source.where()}: a mapping of settings is expected")
    return Source(source.data or {}, source.name, source.lines)


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Names and value of ``section.field=value``; the value is YAML.

    Raises:
        UserError: it is none.
    """
    key, sign, value = text.partition("=")
    if not sign or not _KEY.fullmatch(key.strip()):
        raise UserError(f"--set {brief(text)}: expected section.field=value")
    if len(value) > _LONGEST:
        raise UserError(f"--set {brief(text)}: more than {_LONGEST:,} characters are no value")
    return tuple(key.strip().split(".")), parse_yaml(value, f"--set {brief(text)}").data


def place_of(at: At, overrides: Mapping[At, str], otherwise: str) -> str:
    """Where a setting was written: in the last override of it, or of a section around it.

    Args:
        at: names from the outermost.
        overrides: {names: the override as it was given}, in their order.
        otherwise: what is said where no override names it.
    """
    named = [text for names, text in overrides.items() if at[: len(names)] == names]
    return f"--set {brief(named[-1])}" if named else otherwise


def checked(kind: type[Settings], given: Any, where: str | Callable[[At], str]) -> Settings:
    """Settings from plain data.

    Args:
        kind: of settings.
        given: what was written, a mapping.
        where: it was written, or what says so of a field, such as `Source.where`.

    Raises:
        UserError: naming where, the field and what is allowed.
    """
    try:
        return kind.model_validate(dict(given) if isinstance(given, Mapping) else given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = tuple(first["loc"])
        place = where if isinstance(where, str) else where(at)
        name = ".".join(str(part)[:80] for part in at[:8])
        if first["type"] == "extra_forbidden":
            raise UserError(f"{place}: {name}: there is no such setting; {_instead(kind, at)}") from error
        raise UserError(f"{place}: {name}: {first['msg']} (got {brief(first.get('input'))})") from error


def stored(kind: type[Settings], config: Mapping[str, Any], section: str, run: str) -> Settings:
    """A section of the settings that a run was made with; the defaults where it has none.

    Raises:
        UserError: the run's record holds something else.
    """
    return checked(kind, config.get(section, {}), f"{run}/run.json: config.{section}")


def _instead(kind: type[BaseModel], at: At) -> str:
    """What may have been meant by a setting that does not exist."""
    names = sorted(_fields(kind, at[:-1]))
    close = get_close_matches(str(at[-1])[:80], names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"


def _fields(kind: type[BaseModel], at: Sequence[str | int]) -> dict[str, Any]:
    for part in at:
        field = kind.model_fields.get(str(part))
        kind = next(_models(field.annotation), kind) if field is not None else kind
    return kind.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            yield one
