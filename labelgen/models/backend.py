"""A backend: the code behind one step of labelling, chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from labelgen.core.registry import Registry
from labelgen.core.settings import Settings
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
    return registry.use(name, lambda backend: backend.make(config, device, threads))


def describe(registry: Registry[Backend[T]], name: str, config: Settings) -> ModelInfo:
    """What a run records about the backend of a name, with the package that brings it.

    Raises:
        UserError: as `make`.
    """
    info = registry.use(name, lambda backend: backend.describe(config))
    return replace(info, package=registry.package(name))
