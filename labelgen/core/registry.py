"""Registries: the parts of one kind by name, our own and those that other packages provide.

Another package names its parts in its metadata, as entry points of the registry's group. Its code is imported
when one of its parts is asked for, so what is wrong in it stops nobody else. A part is a light object that
imports what is dear in its functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any, Generic, Protocol, TypeVar

from labelgen.core.errors import LabelgenError, UserError
from labelgen.core.settings import Settings
from labelgen.core.settings_reading import suggestion
from labelgen.core.wording import brief, one_line

#: Where our own parts come from, in messages.
_OURS = "labelgen"


class Part(Protocol):
    """What a registry holds."""

    @property
    def about(self) -> str:
        """One sentence that says what it is."""
        ...


P = TypeVar("P", bound=Part)
R = TypeVar("R")


@dataclass(frozen=True)
class PlugIn:
    """A part that another package brings.

    Attributes:
        group: of entry points, such as ``labelgen.regions``.
        name: of the part.
        package: that brings it, with its version.
        fault: why it cannot be used, in one line; empty if it can.
    """

    group: str
    name: str
    package: str
    fault: str = ""


class Registry(Generic[P]):
    """The parts of one kind by name.

    Attributes:
        what: one is called in messages, such as ``region proposer``.
        group: of entry points by which other packages add to it.
    """

    def __init__(self, what: str, group: str, kind: type[P], own: Mapping[str, P]) -> None:
        """A registry with our own parts.

        Args:
            what: one is called in messages.
            group: of entry points.
            kind: class of its parts.
            own: {name: part}.
        """
        self.what, self.group = what, group
        self._kind, self._own = kind, own

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in _found(self.group)

    def __iter__(self) -> Iterator[str]:
        """Names: our own in their order, then those of other packages; imports none."""
        return iter(self.names())

    def names(self) -> list[str]:
        """As `__iter__`."""
        return list(dict.fromkeys([*self._own, *sorted(_found(self.group))]))

    def own(self) -> list[str]:
        """Names of our own parts."""
        return list(self._own)

    def __getitem__(self, name: str) -> P:
        """The part of a name.

        Raises:
            UserError: there is none, two packages bring one, or the package that does cannot be used.
        """
        points = _found(self.group).get(name, [])
        if name not in self:
            close = suggestion(name, self.names())
            raise UserError(f"unknown {self.what} {brief(name)}; {close}")
        if len(points) + (name in self._own) > 1:
            owners = [*([_OURS] if name in self._own else []), *map(_package, points)]
            raise UserError(f"{self.what} {name!r} is provided by {' and by '.join(owners)}; uninstall one")
        if name in self._own:
            return self._own[name]
        (point,) = points
        try:
            part = point.load()
        except Exception as error:  # a package may raise whatever it likes when it is imported
            raise UserError(
                f"{self.what} {name!r} cannot be used: {_where(point)} fails with "
                f"{type(error).__name__}: {one_line(error, 300)}"
            ) from error
        if not isinstance(part, self._kind):
            raise UserError(
                f"{self.what} {name!r} cannot be used: {_where(point)} is a {type(part).__name__}, "
                f"not a {self._kind.__module__}.{self._kind.__name__}"
            )
        return part

    def use(self, name: str, function: Callable[[P], R]) -> R:
        """What a function gives of a part.

        Raises:
            UserError: as `__getitem__`; what the function raises, whatever it is if another package brings
                the part.
        """
        part = self[name]
        try:
            return function(part)
        except LabelgenError:
            raise
        except Exception as error:
            package = self.package(name)
            if not package:
                raise
            text = f"{self.what} {name!r} of {package}: {type(error).__name__}: {one_line(error, 300)}"
            raise UserError(text) from error

    def require(self, name: Any, packages: Iterable[Any], where: str) -> None:
        """Say which package brought a part that a file names, if neither is here.

        Args:
            name: of the part, as the file has it.
            packages: with their versions, that the file says it was made with.
            where: the file, and the field in it.

        Raises:
            UserError: there is no such part, and one of the packages is not installed.
        """
        absent = [one for one in dict.fromkeys(packages) if isinstance(one, str) and one and not _here(one)]
        if isinstance(name, str) and name not in self and absent:
            raise UserError(
                f"{where}: {self.what} {brief(name)} is of {' or of '.join(map(one_line, absent))}, which is "
                "not installed here; install it with pip"
            )

    def about(self) -> dict[str, str]:
        """{name: what it is}, with the package that brings it, or why it cannot be used."""
        found = {}
        for name in self.names():
            try:
                about = self[name].about
            except UserError as error:
                about = str(error)
            package = self.package(name)
            found[name] = f"{about} ({package})" if package and package not in about else about
        return found

    def package(self, name: str) -> str:
        """Package, with its version, that brings a part; empty for our own."""
        points = _found(self.group).get(name)
        return _package(points[0]) if points and name not in self._own else ""

    def plug_ins(self) -> list[PlugIn]:
        """What other packages bring, each imported and looked at."""
        found = []
        for name, points in sorted(_found(self.group).items()):
            fault = ""
            try:
                self[name]
            except UserError as error:
                fault = str(error)
            found += [PlugIn(self.group, name, _package(point), fault) for point in points]
        return found


class HasSettings(Part, Protocol):
    """A part with settings of its own."""

    @property
    def settings(self) -> type[Settings]:
        """Their class; its field ``backend`` is a ``Literal`` of the part's name, which is its default."""
        ...


B = TypeVar("B", bound=HasSettings)


class Backends(Registry[B]):
    """Parts whose settings are a section of a run's, told apart by its field ``backend``."""

    def __getitem__(self, name: str) -> B:
        """As `Registry.__getitem__`; the settings must be known by the part's name."""
        part = super().__getitem__(name)
        field = part.settings.model_fields.get("backend")
        if field is None or field.default != name:
            kind = f"{part.settings.__module__}.{part.settings.__name__}"
            raise UserError(
                f"{self.what} {name!r} cannot be used: {kind} needs the field "
                f'backend: Literal["{name}"] = "{name}"'
            )
        return part

    def settings_of(self, name: str) -> type[Settings]:
        """Class of a backend's settings; raises as `__getitem__`."""
        return self[name].settings


def _found(group: str) -> dict[str, list[EntryPoint]]:
    return _entry_points(group, tuple(sys.path))


@lru_cache(maxsize=64)
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """{name: entry points} of a group, in the packages that are installed along a path."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        same = found.setdefault(point.name, [])
        if point not in same:
            same.append(point)
    return found


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _here(package: str) -> bool:
    """Whether a package is installed in the version that is given with it."""
    name, _, wanted = package.rpartition(" ")
    try:
        return version(name) == wanted
    except (PackageNotFoundError, ValueError):
        return False


def _where(point: EntryPoint) -> str:
    return f"entry point {point.group}: {point.name} = {point.value} of {_package(point)}"
