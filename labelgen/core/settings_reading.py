"""One parser for settings that people give: files, presets, ``section.field=value``, keyword arguments.

Each is a layer of plain data over the one before. What is wrong is told in one line that names the layer
(file and line, override, argument), the field, and what it may hold.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from labelgen.core.errors import UnusedSettingWarning, UserError
from labelgen.core.settings import Settings, allowed, backends, choices, fields, section
from labelgen.core.text_files import At, parse_yaml, read_yaml
from labelgen.core.wording import brief

S = TypeVar("S", bound=Settings)
#: Bytes of the longest override.
_LONGEST = 1 << 16
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){0,7}")


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    Attributes:
        data: what was written there.
        where: says so of an entry.
        shipped: with this package: what has no effect in it is no mistake of the user's.
    """

    data: Mapping[str, Any]
    where: Callable[[At], str]
    shipped: bool = False


def file_layer(path: Path | Traversable, *, shipped: bool = False) -> Layer:
    """A YAML file of settings; an empty one holds none.

    Raises:
        UserError: it cannot be read, or is no mapping; names the file, and the line where it can.
    """
    if isinstance(path, Path):
        source = read_yaml(path, "configuration")
    else:
        source = parse_yaml(path.read_text("utf-8"), path.name)
    if not isinstance(source.data, dict | None):
        raise UserError(f"{source.where()}: a mapping of settings is expected")
    return Layer(source.data or {}, source.where, shipped)


def override_layer(text: str) -> Layer:
    """One ``section.field=value``; the value is YAML.

    Raises:
        UserError: it is none.
    """
    name = f"--set {brief(text)}"
    key, sign, value = text.partition("=")
    if not sign or not _KEY.fullmatch(key.strip()):
        raise UserError(f"{name}: expected section.field=value")
    if len(value) > _LONGEST:
        raise UserError(f"{name}: a value may have at most {_LONGEST:,} characters")
    data: Any = parse_yaml(value, name).data
    for part in reversed(key.strip().split(".")):
        data = {part: data}
    return Layer(data, lambda at: name)


def argument_layer(given: Mapping[str, Any]) -> Layer:
    """Keyword arguments, sections as mappings or as `Settings`."""
    return Layer(_plain(given), lambda at: f"argument {at[0]}" if at else "arguments")


def compose(
    kind: type[S],
    layers: Iterable[Layer],
    before: Callable[[dict[str, Any], Mapping[str, Any]], None] = lambda below, above: None,
) -> S:
    """Settings from layers, each over those before.

    A field that only another backend has is left out; where the user gave it, with a warning.

    Args:
        kind: of settings.
        layers: from the lowest.
        before: called with what is there and the next layer's data, before they are laid over it.

    Raises:
        UserError: naming the layer, the field and what is allowed.
    """
    known, data = list(layers), dict[str, Any]()
    for layer in known:
        before(data, layer.data)
        _lay_over(data, layer.data)
    unused: list[At] = []
    settings = checked(kind, data, lambda at: layer_of(known, at).where(at), unused)
    for at in unused:
        layer = layer_of(known, at)
        if not layer.shipped:
            backend = getattr(settings, str(at[0])).backend
            name = ".".join(map(str, at))
            text = f"{layer.where(at)}: {name} has no effect with {at[0]}.backend={backend}"
            warnings.warn(text, UnusedSettingWarning, stacklevel=3)
    return settings


def layer_of(layers: Sequence[Layer], at: At) -> Layer:
    """The last layer that says something of a field, or else of the section around it."""
    for end in range(len(at), 0, -1):
        for layer in reversed(layers):
            if _holds(layer.data, at[:end]):
                return layer
    return layers[-1] if layers else Layer({}, lambda at: "defaults")


def checked(
    kind: type[S],
    given: Any,
    where: str | Callable[[At], str],
    unused: list[At] | None = None,
    under: At = (),
) -> S:
    """Settings from plain data.

    Args:
        kind: of settings.
        given: what was written, a mapping.
        where: it was written, or what says so of a field, such as `Source.where`.
        unused: is given the places of fields that only another backend has, but for those at their default.
        under: names around the mapping.

    Raises:
        UserError: naming where, the field and what is allowed.
    """
    try:
        return kind.model_validate(dict(given) if isinstance(given, Mapping) else given, context=unused)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at, kinds, field = _follow(kind, tuple(first["loc"]), given)
        whole = under + at
        place = where if isinstance(where, str) else where(whole)
        name = f"{'.'.join(str(part)[:80] for part in whole[:8])}: " if whole else ""
        raise UserError(f"{place}: {name}{_fault(first, at, kinds, field)}") from None


def stored(kind: type[S], config: Mapping[str, Any], name: str, run: str) -> S:
    """A section of the settings that a run was made with; the defaults where it has none.

    Raises:
        UserError: the run's record holds something else.
    """
    return checked(kind, config.get(name, {}), f"{run}/run.json: config.{name}")


def suggestion(word: Any, words: Sequence[str]) -> str:
    """``did you mean …?`` where one of the words is like it; else all of them."""
    close = get_close_matches(str(word)[:80], words, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(sorted(words))}"


def _follow(kind: type[Settings], loc: At, given: Any) -> tuple[At, list[type[Settings]], FieldInfo | None]:
    """Where a fault is: names of fields, the settings in which the last of them is looked for, and its field.

    Pydantic's own place also names items and alternatives within a field. Of several backends, it is the one
    that was given.
    """
    at: At = ()
    field: FieldInfo | None = None
    inside = [kind]
    for part in loc:
        found = next((one.model_fields[str(part)] for one in inside if str(part) in one.model_fields), None)
        if found is None:
            return ((*at, part) if inside else at), inside, field
        at, field = (*at, part), found
        given = given.get(part) if isinstance(given, Mapping) else None
        if kinds := backends(field):
            tag = given.get("backend", field.default.backend) if isinstance(given, Mapping) else None
            inside = [one for name, one in kinds.items() if name == tag] or list(kinds.values())
        else:
            inside = [one for one in (section(field),) if one is not None]
    return at, inside, field


def _fault(first: Any, at: At, kinds: Sequence[type[Settings]], field: FieldInfo | None) -> str:
    """What is wrong, in our words."""
    got = first.get("input")
    match first["type"]:
        case "extra_forbidden":
            names = sorted({name for kind in kinds for name in fields(kind)})
            return f"there is no such setting; {suggestion(at[-1], names)}"
        case "missing" if field is not None and field.is_required():
            return "it is missing"
        case "value_error":
            return str(first["ctx"]["error"])
        case "union_tag_invalid" if field is not None:
            tags = list(backends(field))
            given = got.get("backend") if isinstance(got, Mapping) else got
            return f"backend: {' or '.join(tags)} is expected, not {brief(given)}{_or_rather(given, tags)}"
    if field is None or section(field) is not None or backends(field):
        return f"a section of settings is expected, not {brief(got)}"
    return f"{allowed(field)} is expected, not {brief(got)}{_or_rather(got, choices(field.annotation))}"


def _or_rather(given: Any, words: Sequence[str]) -> str:
    close = get_close_matches(given[:80], words, n=1) if isinstance(given, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for name, value in above.items():
        inner = below.get(name)
        if isinstance(value, Mapping) and isinstance(inner, dict):
            below[name] = dict(inner)  # an anchor's content may stand elsewhere, too
            _lay_over(below[name], value)
        else:
            below[name] = value


def _holds(data: Any, at: At) -> bool:
    for part in at:
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.model_dump()
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, Mapping) else value
