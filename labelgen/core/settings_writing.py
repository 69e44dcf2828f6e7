"""Settings written down with their meaning, default and range: as a YAML file to edit, and as a page."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from labelgen.core.settings import NO_LABEL, Settings, allowed, backends, fields, section

#: Columns of the comments.
_WIDTH = 100


def to_yaml(settings: Settings, head: str, parts: Mapping[str, type[Settings]] | None = None) -> str:
    """A file with every setting, which gives the same settings where it is read.

    Args:
        settings: to be written.
        head: what the file is, for its first lines.
        parts: {field with a mapping: what it may hold}; what it does not hold is written as a comment.
    """
    lines = _comment(head, 0)
    for name, field in fields(type(settings)).items():
        if parts and name in parts:
            given = getattr(settings, name)
            lines += ["", *_comment(_first(parts[name]), 0), f"{name}:" if given else f"{name}: {{}}"]
            lines += _held(parts[name], given, 1)
        else:
            lines += _entry(name, field, settings, 0)
    return "\n".join(lines) + "\n"


def scalar(value: Any) -> str:
    """Plain data as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(scalar, value)) + "]"
    text = yaml.safe_dump(value, width=float("inf")).removesuffix("...\n").strip()
    if isinstance(value, str) and (text.startswith(("'", '"')) or set(text) & set("\n,[]{}#:")):
        text = yaml.safe_dump(value, width=float("inf"), default_style='"').strip()
    return text


def meaning(field: FieldInfo, choices: Iterable[str] = ()) -> str:
    """What a setting does, what it may be, and what it is if nobody says anything.

    Args:
        field: of the setting.
        choices: what it may be, where other classes allow more.
    """
    may = " or ".join(choices) or allowed(field)
    return f"{field.description or ''} ({may}; default {scalar(_default(field))})".strip()


def to_markdown(kind: type[Settings], path: str = "") -> Iterator[str]:
    """Lines of tables with all settings of a kind, a table for each section and backend."""
    yield from ("| setting | meaning | allowed | default |", "| --- | --- | --- | --- |")
    inner: list[tuple[str, str, type[Settings]]] = []
    for name, field in fields(kind).items():
        one, kinds = section(field), backends(field, own=True)
        mark = " †" if NO_LABEL in field.metadata else ""
        inner += [(f"{path}{name}", mark, each) for each in ([one] if one else kinds.values())]
        if not kinds and (one is None or field.default is None):
            default = f"`{scalar(_default(field))}`"
            yield _row(f"`{path}{name}`{mark}", field.description or "", allowed(field), default)
    for name, mark, each in inner:
        tag = each.model_fields["backend"].default if "backend" in each.model_fields else ""
        yield from ("", f"### {name}" + (f", `backend: {tag}`" if tag else "") + mark, "", _first(each), "")
        yield from to_markdown(each, f"{name}.")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _entry(
    name: str, field: FieldInfo, settings: Settings, depth: int, tags: Iterable[str] = ()
) -> Iterator[str]:
    pad = "  " * depth
    value, one, kinds = getattr(settings, name), section(field), backends(field)
    if isinstance(value, Settings):
        yield ""
        yield from _comment(meaning(field) if one and field.description else _first(type(value)), depth)
        yield f"{pad}{name}:"
        for inner, info in fields(type(value)).items():
            yield from _entry(inner, info, value, depth + 1, kinds)
        return
    yield from _comment(meaning(field, tags if name == "backend" else ()), depth)
    yield f"{pad}{name}: {scalar(settings.model_dump(mode='json', include={name})[name])}"
    for inner, info in fields(one).items() if one else ():
        yield from _comment(f"  {name}.{inner}: {meaning(info)}", depth)


def _held(kind: type[Settings], given: Mapping[str, Any], depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, field in fields(kind).items():
        sign, one = "" if name in given else "# ", section(field)
        if one is None:
            yield from _comment(meaning(field), depth)
            yield f"{pad}{sign}{name}: {scalar(given.get(name, _default(field)))}"
        else:
            inner = given.get(name, {})
            yield from ("", *_comment(_first(one), depth))
            yield f"{pad}{sign}{name}:" + (" {}" if name in given and not inner else "")
            yield from _held(one, inner, depth + 1)


def _comment(text: str, depth: int) -> list[str]:
    pad = "  " * depth + "# "
    return [
        line
        for part in text.split("\n")
        for line in textwrap.wrap(part, _WIDTH, initial_indent=pad, subsequent_indent=pad)
    ]


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    return default.model_dump(mode="json") if isinstance(default, Settings) else default


def _first(kind: type[Settings]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
