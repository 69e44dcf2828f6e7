"""Classes, their colours and the open words that describe them to a text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from labelgen.errors import UserError
from labelgen.records import UNLABELLED


@dataclass(frozen=True)
class ClassSpec:
    """One class.

    Attributes:
        id: train id, the class's position in the taxonomy, from 0.
        name: the data set's name of the class.
        color: red, green, blue, 0..255.
        thing: True for countable objects, False for stuff.
        source: names of the data set's own categories that make up this class.
        words: open words; a region's score for the class is the best over them.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    thing: bool
    source: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Taxonomy:
    """The classes of a run, in the order of their ids, with templates and void words."""

    name: str
    version: int
    templates: tuple[str, ...]
    classes: tuple[ClassSpec, ...]
    void: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        """Class names in the order of their ids."""
        return [spec.name for spec in self.classes]

    def colors(self) -> NDArray[np.uint8]:
        """(256, 3) uint8 RGB by label; grey where no class is."""
        table = np.full((256, 3), 90, np.uint8)
        for spec in self.classes:
            table[spec.id] = spec.color
        return table

    def train_id_table(self, index_of_category: Mapping[str, int]) -> NDArray[np.uint8]:
        """Map the data set's label ids to train ids.

        Args:
            index_of_category: {category name: id in the label files}, from the data set's own tables.

        Returns:
            (max(256, largest id + 1),) uint8: train id, or 255 for what no class claims.

        Raises:
            UserError: if no category of a class is in the data set's tables.
        """
        table = np.full(max([255, *index_of_category.values()]) + 1, UNLABELLED, np.uint8)
        for spec in self.classes:
            ids = [index_of_category[name] for name in spec.source if name in index_of_category]
            if not ids:
                raise UserError(
                    f"taxonomy {self.name}: the data set's tables name none of {list(spec.source)} "
                    f"(class {spec.name}); use a taxonomy made for this data set"
                )
            table[ids] = spec.id
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``run.json``."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "taxonomy") -> Taxonomy:
        """Build from plain data and check it.

        Raises:
            UserError: naming ``where`` and the faulty entry.
        """
        try:
            classes = tuple(
                ClassSpec(
                    id=number,
                    name=str(entry["name"]),
                    color=tuple(int(c) for c in entry["color"]),  # type: ignore[arg-type]
                    thing=bool(entry["thing"]),
                    source=tuple(entry.get("source", ())),
                    words=tuple(str(word) for word in entry["words"]),
                )
                for number, entry in enumerate(data["classes"])
            )
            taxonomy = cls(
                name=str(data["name"]),
                version=int(data.get("version", 1)),
                templates=tuple(data.get("templates", ("a photo of a {}.",))),
                classes=classes,
                void=tuple(data.get("void", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a taxonomy ({type(error).__name__}: {error})") from error
        taxonomy._check(where)
        return taxonomy

    def _check(self, where: str) -> None:
        if not 1 <= len(self.classes) <= UNLABELLED:
            raise UserError(f"{where}: {len(self.classes)} classes; 1 to {UNLABELLED} are possible")
        owner: dict[str, str] = {}
        for kind, words in [(spec.name, spec.words) for spec in self.classes] + [("void", self.void)]:
            if not words and kind != "void":
                raise UserError(f"{where}: class {kind} has no words")
            for word in words:
                if (other := owner.setdefault(word.casefold(), kind)) != kind:
                    raise UserError(f"{where}: the word {word!r} is in {other} and in {kind}")
        names = self.names
        if len(set(names)) != len(names):
            raise UserError(f"{where}: two classes have the same name")
        for spec in self.classes:
            if len(spec.color) != 3 or not all(0 <= channel <= 255 for channel in spec.color):
                raise UserError(f"{where}: class {spec.name}: color must be three numbers from 0 to 255")
        for template in self.templates:
            if template.count("{}") != 1:
                raise UserError(f"{where}: template {template!r} must hold {{}} once")
        if not self.templates:
            raise UserError(f"{where}: no templates; at least '{{}}' is needed")

    def digest(self) -> str:
        """Hash of everything that can change a label (colours cannot)."""
        content = self.to_dict()
        for entry in content["classes"]:
            del entry["color"]
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_taxonomy(name_or_path: str) -> Taxonomy:
    """Load a taxonomy shipped with the package by name, or one from a YAML file.

    Raises:
        UserError: unknown name, unreadable file, or faulty content; the message names the file.
    """
    shipped = resources.files("labelgen") / "taxonomies"
    names = sorted(p.name.removesuffix(".yaml") for p in shipped.iterdir() if p.name.endswith(".yaml"))
    if name_or_path in names:
        text, where = (shipped / f"{name_or_path}.yaml").read_text(), f"{name_or_path}.yaml"
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise UserError(f"taxonomy {name_or_path!r} is neither a file nor one of {names}")
        text, where = path.read_text(errors="replace"), str(path)
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise UserError(f"{where}: not a taxonomy (a mapping with name, classes, void is expected)")
    return Taxonomy.from_dict(data, where)
