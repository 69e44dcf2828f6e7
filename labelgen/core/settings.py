"""Settings: declared once, beside the code that they set, and what all of them have in common.

A run's or a training's settings are composed of the settings of their parts. Where one of several backends
does a part, the section is a union of their settings (`OneOf`), told apart by the field ``backend``; it then
has the chosen one's fields and no others.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Protocol, TypeVar, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from labelgen.core.errors import UserError

S = TypeVar("S", bound="Settings")


class Mark(Enum):
    """What a fingerprint need not know of a field; stands in its annotation."""

    #: It cannot change a label, or what it names is covered by its hash (weights).
    NO_LABEL = "no label"
    #: It came later than the first runs, and at its default everything is as it was before.
    ADDED = "added"


NO_LABEL, ADDED = Mark.NO_LABEL, Mark.ADDED


class Choices(Protocol):
    """Backends by name, such as a `labelgen.core.registry.Backends`."""

    def names(self) -> list[str]:
        """All of them."""
        ...

    def own(self) -> list[str]:
        """Those of this package."""
        ...

    def settings_of(self, name: str) -> type[Settings]:
        """Class of a backend's settings.

        Raises:
            UserError: there is no such backend, or it cannot be used.
        """
        ...


@dataclass(frozen=True)
class OneOf:
    """Stands in the annotation of a section that is one of several backends' settings."""

    choices: Choices

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Checks a section by the settings of the backend that it names."""
        return core_schema.with_info_plain_validator_function(self._checked)

    def _checked(self, value: Any, info: ValidationInfo) -> Settings:
        tag = value.get("backend") if isinstance(value, Mapping) else getattr(value, "backend", None)
        if not isinstance(value, Mapping | Settings):
            raise PydanticCustomError("section", "a section of settings is expected")
        if tag not in self.choices.names():
            raise PydanticCustomError("union_tag_invalid", "there is no such backend")
        try:
            kind = self.choices.settings_of(tag)
        except UserError as error:
            raise ValueError(str(error)) from error
        return kind.model_validate(value, context=info.context)


class Settings(BaseModel):
    """Base of all settings: checked, unchangeable, and without fields that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def idle(self) -> frozenset[str]:
        """Fields that have no effect, the others being what they are."""
        return frozenset()

    def part(self, kind: type[S]) -> S:
        """The settings of a part, whose fields are among these."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    def covered(self) -> dict[str, Any]:
        """What can change a label, as plain data: the fields that have an effect and no `Mark` against it."""
        plain = self.model_dump(mode="json")
        idle, found = self.idle(), dict[str, Any]()
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if (
                name in idle
                or NO_LABEL in field.metadata
                or (ADDED in field.metadata and value == field.default)
            ):
                continue
            found[name] = value.covered() if isinstance(value, Settings) else plain[name]
        return found

    @model_validator(mode="before")
    @classmethod
    def _choose_backends(cls, data: Any, info: ValidationInfo) -> Any:
        """Complete unions by their default backend, and leave out what only another backend has.

        ``info.context`` may be a list; it is given the places of those fields that were not at their default.
        """
        if not isinstance(data, Mapping):
            return data
        out = dict(data)
        for name, field in cls.model_fields.items():
            choices, given = choices_of(field), data.get(name)
            if choices is None or not isinstance(given, Mapping):
                continue
            tag = given.get("backend", field.default.backend)
            out[name] = kept = {"backend": tag}
            try:
                chosen = choices.settings_of(str(tag))
            except UserError:  # told by who checks the section
                continue
            for key, value in given.items():
                others = (
                    [kind.model_fields[key] for kind in backends(field).values() if key in kind.model_fields]
                    if key not in chosen.model_fields
                    else []
                )
                if not others:
                    kept[key] = value
                elif isinstance(info.context, list) and not any(_same(value, f.default) for f in others):
                    info.context.append((name, key))
        return out


def _same(given: Any, default: Any) -> bool:
    return bool((list(default) if isinstance(default, tuple) else default) == given)


def fields(kind: type[Settings]) -> dict[str, FieldInfo]:
    """Fields in the order for readers: the backend, those of the class itself, then of its bases."""
    names = ["backend", *(name for one in kind.__mro__ for name in inspect.get_annotations(one))]
    return {name: kind.model_fields[name] for name in dict.fromkeys(names) if name in kind.model_fields}


def choices_of(field: FieldInfo) -> Choices | None:
    """Backends that a section may be of; None for other fields."""
    return next((mark.choices for mark in field.metadata if isinstance(mark, OneOf)), None)


def backends(field: FieldInfo, *, own: bool = False) -> dict[str, type[Settings]]:
    """{backend: class of its settings} of a section that has several; empty for other fields.

    Args:
        field: of settings.
        own: those of this package alone; else all that can be used.
    """
    found: dict[str, type[Settings]] = {}
    choices = choices_of(field)
    if choices is None:
        return found
    for name in choices.own() if own else choices.names():
        with suppress(UserError):  # told to who asks for it
            found[name] = choices.settings_of(name)
    return found


def section(field: FieldInfo) -> type[Settings] | None:
    """Settings that a field holds, be it optionally; None where it holds a value or one of several."""
    if choices_of(field) is not None:
        return None
    for one in (field.annotation, *get_args(field.annotation)):
        if isinstance(one, type) and issubclass(one, Settings):
            return one
    return None


def allowed(field: FieldInfo) -> str:
    """What a field may hold, in words: ``a whole number from 1 to 128``."""
    return " or ".join(_allowed(field.annotation, tuple(field.metadata)))


def choices(annotation: Any) -> list[str]:
    """The words that a field may hold, if it can hold such."""
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return [word for part in get_args(annotation) for word in choices(part)]


def _allowed(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[str]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = (m for part in parts[1:] for m in getattr(part, "metadata", [part]))
        yield from _allowed(parts[0], (*metadata, *inner))
    elif origin in (Union, types.UnionType):
        for part in sorted(parts, key=lambda part: part is type(None)):
            yield from _allowed(part, metadata)
    elif origin is Literal:
        yield from (str(one) for one in parts)
    elif origin is list or (origin is tuple and parts[-1] is Ellipsis):
        (what,) = _allowed(parts[0], ())
        most = next((m.max_length for m in metadata if isinstance(m, annotated_types.MaxLen)), None)
        yield f"a list, each {what}" + (f", {most:,} at most" if most else "")
    elif origin is tuple:
        (what,) = dict.fromkeys(text for part in parts for text in _allowed(part, ()))
        yield f"a list of {len(parts)}, each {what}"
    elif annotation is type(None):
        yield "null"
    elif annotation is bool:
        yield "true or false"
    elif annotation in (int, float):
        yield ("a whole number" if annotation is int else "a number") + _range(metadata)
    elif annotation is str:
        yield "a text"
    else:
        yield "a section of settings"


def _range(metadata: tuple[Any, ...]) -> str:
    low = high = ""
    for m in metadata:
        match m:
            case annotated_types.Ge(value):
                low = f"from {_number(value)}"
            case annotated_types.Gt(value):
                low = f"above {_number(value)}"
            case annotated_types.Le(value):
                high = f"to {_number(value)}"
            case annotated_types.Lt(value):
                high = f"below {_number(value)}"
    if low.startswith("above") and high.startswith("to"):
        high = f"up {high}"
    return "".join(f" {end}" for end in (low, high) if end)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"
