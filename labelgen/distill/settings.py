"""Checks settings that a user wrote, and says in one line what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from labelgen.errors import UserError

Settings = TypeVar("Settings", bound=BaseModel)


def checked(kind: type[Settings], given: Mapping[str, Any], where: str) -> Settings:
    """Settings from plain data.

    Raises:
        UserError: naming ``where``, the field and what is allowed.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {field}: {first['msg']} (got {first.get('input')!r})") from error
