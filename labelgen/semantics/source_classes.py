"""The classes of another model: what its ids are called, and which of our classes that is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labelgen.core.errors import UserError
from labelgen.core.settings_reading import suggestion
from labelgen.core.taxonomy import Taxonomy
from labelgen.core.text_files import Source, parse_yaml, read_yaml

#: Highest id of a class: maps have up to 16 bits.
_MOST = 65_535


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    ids: tuple[str, ...] | dict[int, str] = Field(min_length=1)
    ignore: tuple[int, ...] = ()
    to: dict[str, dict[str, str | None]] = {}


@dataclass(frozen=True)
class SourceClasses:
    """What the ids in another model's maps mean.

    Attributes:
        name: of the vocabulary.
        ids: {id: name of the class}.
        ignore: ids of pixels that say nothing.
        to: {taxonomy: {name of theirs: name of ours, or None for what gets no label}}; names that are not
            listed are found by a class's name and words.
        path: of the file, for messages.
    """

    name: str
    ids: dict[int, str]
    ignore: frozenset[int] = frozenset()
    to: dict[str, dict[str, str | None]] = field(default_factory=dict)
    path: str = ""

    def digest(self) -> bytes:
        """Hash of all that changes a label."""
        content = [sorted(self.ids.items()), sorted(self.ignore), sorted(self.to.items())]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).digest()

    def translate(self, taxonomy: Taxonomy, unmapped: str = "error") -> NDArray[np.int64]:
        """Our class of every id.

        Args:
            taxonomy: our C classes.
            unmapped: ``void``: classes of theirs that are none of ours get no label; ``error``: they are
                refused.

        Returns:
            (largest id + 1,) int64: 0..C - 1; C for what gets no label; -1 for ids that the vocabulary lacks.

        Raises:
            UserError: names the classes that are none of ours, or a class of ours that there is not.
        """
        given = self.to.get(taxonomy.name, {})
        if wrong := [theirs for theirs in given if theirs not in self.ids.values()]:
            near = suggestion(wrong[0], [*self.ids.values()])
            raise UserError(f"{self.path}: to.{taxonomy.name}: {wrong[0]!r} is not one of ids; {near}")
        table = np.full(max([*self.ids, *self.ignore]) + 1, -1, np.int64)
        table[sorted(self.ignore)] = len(taxonomy)
        missing = []
        for number, theirs in self.ids.items():
            ours = given[theirs] if theirs in given else _by_words(theirs, taxonomy)
            if ours is not None and ours not in taxonomy.names:
                near = suggestion(ours, taxonomy.names)
                raise UserError(f"{self.path}: {theirs!r}: {taxonomy.name} has no class {ours!r}; {near}")
            if ours is None and theirs not in given:
                missing.append(theirs)
            table[number] = len(taxonomy) if ours is None else taxonomy.names.index(ours)
        if missing and unmapped == "error":
            raise UserError(
                f"{self.path or self.name}: {', '.join(missing[:8])}{' …' if missing[8:] else ''} "
                f"({len(missing)} of {len(self.ids)} classes) are none of {taxonomy.name}'s: list them in a "
                f"vocabulary file under to.{taxonomy.name} (semantics.vocabulary=FILE), or "
                "semantics.unmapped=void leaves them without a label"
            )
        return table


def load_source_classes(name_or_path: str) -> SourceClasses:
    """One of the shipped vocabularies, or a YAML file of that form: ``name``, ``ids``, ``ignore``, ``to``.

    Raises:
        UserError: no such name, or the file is not of that form (says where).
    """
    shipped = resources.files("labelgen") / "semantics" / "vocabularies"
    names = sorted(Path(file.name).stem for file in shipped.iterdir() if file.name.endswith(".yaml"))
    if name_or_path in names:
        path = f"vocabulary {name_or_path}"
        return _checked(parse_yaml((shipped / f"{name_or_path}.yaml").read_text("utf-8"), path), path)
    if not Path(name_or_path).suffix:
        near = suggestion(name_or_path, names)
        raise UserError(f"semantics.vocabulary: {name_or_path!r} is neither a YAML file nor shipped; {near}")
    return _checked(read_yaml(Path(name_or_path), "vocabulary"), name_or_path)


def _checked(source: Source, path: str) -> SourceClasses:
    try:
        found = _File.model_validate(source.data)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        what = ".".join(str(part) for part in first["loc"]) or "the file"
        said = first["msg"]
        if first["type"] == "extra_forbidden":
            said = f"there is no such field; {suggestion(what, [*_File.model_fields])}"
        raise UserError(f"{source.where(first['loc'])}: {what}: {said}") from None
    ids = found.ids if isinstance(found.ids, dict) else dict(enumerate(found.ids))
    numbers = [*ids, *found.ignore]
    if min(numbers) < 0 or max(numbers) > _MOST:
        where = source.where(("ids",))
        raise UserError(f"{where}: ids: 0 to {_MOST} are expected, not {min(numbers)} to {max(numbers)}")
    return SourceClasses(found.name, ids, frozenset(found.ignore), found.to, path)


def _by_words(theirs: str, taxonomy: Taxonomy) -> str | None:
    """The class that is called so, or the only one that has it among its words."""
    wanted = _plain(theirs)
    for spec in taxonomy.classes:
        if _plain(spec.name) == wanted:
            return spec.name
    found = [spec.name for spec in taxonomy.classes if wanted in {_plain(word) for word in spec.words}]
    return found[0] if len(found) == 1 else None


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())
