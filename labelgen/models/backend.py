"""A backend: the code behind one step of labelling, chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from labelgen.core.errors import LabelgenError, UserError
from labelgen.core.registry import Registry
from labelgen.core.settings import Settings
from labelgen.core.wording import one_line
from labelgen.models.info import ModelInfo

T = TypeVar("T")


@dataclass(frozen=True)
class Backend(Generic[T]):
    """One backend; its functions import what they need, as it is asked for its settings where torch is not.

    Attributes:
        about: one sentence that says what it is.
        settings: what can be set of it.
        describe: what a run records about it with these settings, without loading a model; raises
            `labelgen.core.errors.UserError` if weights or files are missing.
        make: it, for use, from settings, device (``auto``, ``cpu`` or ``cuda``) and number of CPU threads;
            raises a UserError if weights are missing or faulty, or the device is not there.
    """

    about: str
    settings: type[Settings]
    describe: Callable[[Any], ModelInfo]
    make: Callable[[Any, str, int], T]


def make(registry: Registry[Backend[T]], name: str, config: Settings, device: str, threads: int) -> T:
    """Make the backend of a name.

    Raises:
        UserError: no such backend; what its ``make`` raises; anything else that another package's raises.
    """
    return _call(registry, name, lambda: registry[name].make(config, device, threads))


def describe(registry: Registry[Backend[T]], name: str, config: Settings) -> ModelInfo:
    """What a run records about the backend of a name, with the package that brings it.

    Raises:
        UserError: as `make`.
    """
    info = _call(registry, name, lambda: registry[name].describe(config))
    return replace(info, package=registry.package(name))


R = TypeVar("R")


def _call(registry: Registry[Backend[T]], name: str, function: Callable[[], R]) -> R:
    try:
        return function()
    except LabelgenError:
        raise
    except Exception as error:
        package = registry.package(name)
        if not package:
            raise
        text = f"{registry.what} {name!r} of {package}: {type(error).__name__}: {one_line(error, 300)}"
        raise UserError(text) from error
