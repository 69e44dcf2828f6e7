"""Which classes are learned from labels, and which are known by their names alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from labelgen.core.errors import UserError
from labelgen.core.settings import Settings
from labelgen.core.settings_reading import checked
from labelgen.core.taxonomy import Taxonomy
from labelgen.core.text_files import parse_yaml, read_yaml

#: Bytes of the largest file that is read.
_LARGEST = 1 << 16


@dataclass(frozen=True)
class ClassSplit:
    """The classes of a taxonomy in two parts.

    Attributes:
        name: of the split.
        base: train ids of the classes whose labels may be learned from, ascending.
        novel: train ids of the others, ascending.
    """

    name: str
    base: tuple[int, ...]
    novel: tuple[int, ...]

    def is_novel(self) -> NDArray[np.bool_]:
        """(256,) by label."""
        table = np.zeros(256, np.bool_)
        table[list(self.novel)] = True
        return table


class _File(Settings):
    model_config = ConfigDict(strict=True)

    novel: list[str]
    base: list[str] | None = None


def load_class_split(name_or_path: str, taxonomy: Taxonomy) -> ClassSplit:
    """Load a split that is shipped with the package by name, or one from a YAML file.

    The file names ``novel`` classes and ``base`` ones; without ``base`` all others are meant.

    Args:
        name_or_path: a file's name without its ending in ``labelgen/distill/configs/classes``, or a path.
        taxonomy: whose classes are divided.

    Raises:
        UserError: no such split, an unreadable file, a class that the taxonomy lacks, that is named twice, in
            both parts or in neither, or no base class; names file and class.
    """
    folder = resources.files("labelgen.distill") / "configs" / "classes"
    shipped = {p.name.removesuffix(".yaml"): p for p in folder.iterdir() if p.name.endswith(".yaml")}
    if name_or_path in shipped:
        name = name_or_path
        source = parse_yaml(shipped[name].read_text("utf-8"), f"{name}.yaml")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            known = ", ".join(sorted(shipped))
            raise UserError(f"split of classes {name_or_path!r} is neither a file nor one of {known}")
        name, source = path.stem, read_yaml(path, "split of classes", _LARGEST)
    where = source.name
    if not isinstance(source.data, dict):
        raise UserError(f"{where}: a mapping with novel and base classes is expected")
    file = checked(_File, source.data, where)
    ids = {spec.name: spec.id for spec in taxonomy.classes}
    base = [n for n in ids if n not in file.novel] if file.base is None else file.base
    for given in (base, file.novel):
        for number, one in enumerate(given):
            if one not in ids:
                known = ", ".join(ids)
                raise UserError(f"{where}: class {one!r} is not a class of taxonomy {taxonomy.name}: {known}")
            if one in given[:number]:
                raise UserError(f"{where}: class {one!r} is named twice")
    for one in ids:
        if one in base and one in file.novel:
            raise UserError(f"{where}: class {one!r} is both base and novel; keep it in one of the two")
        if one not in base and one not in file.novel:
            raise UserError(
                f"{where}: class {one!r} of taxonomy {taxonomy.name} is neither base nor novel; add it to "
                "one of the two"
            )
    if not base:
        raise UserError(f"{where}: no base class is left to learn from; {file.novel[0]!r} could be one")
    return ClassSplit(name, _ids(base, ids), _ids(file.novel, ids))


def _ids(names: list[str], ids: dict[str, int]) -> tuple[int, ...]:
    return tuple(sorted(ids[name] for name in names))
