"""Classes, their colours and the open words that describe them to a text encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.core.taxonomy_source import VOID, categories_of, competing, faults, read_source
from labelgen.core.text_files import Source


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

    def things(self) -> NDArray[np.bool_]:
        """(256,) bool by label: whether it is a countable object's."""
        table = np.zeros(256, np.bool_)
        table[[spec.id for spec in self.classes if spec.thing]] = True
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
                    f"taxonomy {self.name}: the data set's tables contain none of {list(spec.source)} "
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
        return cls.from_source(Source(data, where))

    @classmethod
    def from_source(cls, source: Source) -> Taxonomy:
        """Build from a file's content and check it.

        Raises:
            UserError: the first fault, with file and line.
        """
        for fault in faults(source):
            raise UserError(str(fault))
        data, words = source.data, competing(source)
        classes = tuple(
            ClassSpec(
                id=number,
                name=entry["name"],
                color=tuple(entry["color"]),
                thing=entry["thing"],
                source=categories_of(entry),
                words=tuple(word.text for word in words if word.owner == entry["name"]),
            )
            for number, entry in enumerate(data["classes"])
        )
        return cls(
            name=data["name"],
            version=data.get("version", 1),
            templates=tuple(data.get("templates", ("a photo of a {}.",))),
            classes=classes,
            void=tuple(word.text for word in words if word.owner == VOID),
        )

    def digest(self) -> str:
        """Hash of everything that can change a label (colours cannot)."""
        content = self.to_dict()
        for entry in content["classes"]:
            del entry["color"]
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_taxonomy(name_or_path: str) -> Taxonomy:
    """Load a taxonomy shipped with the package by name, or one from a YAML file.

    Raises:
        UserError: unknown name, unreadable file, or faulty content; the message names file and line.
    """
    return Taxonomy.from_source(read_source(name_or_path))
