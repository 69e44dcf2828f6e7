"""Columns of a manifest as checked Python and numpy values; errors name the file, the row and the column."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.datasets.transforms import find_not_rigid


@dataclass(frozen=True)
class Columns:
    """Access to Arrow arrays of one length, by name.

    Files written by other tools differ in what does not matter (string kinds, integer widths, fixed or
    variable lists); this is levelled here. What does matter is refused.

    Attributes:
        arrays: one array per column.
        where: the file, for errors.
        prefix: of the columns' names, for errors.
        place: the words for a row, for errors.
    """

    arrays: Mapping[str, pa.Array]
    where: str
    prefix: str
    place: Callable[[int], str]

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, pa.Array],
        schema: pa.Schema,
        where: str,
        prefix: str,
        place: Callable[[int], str],
    ) -> Columns:
        """Check the names against a schema; nullable fields may be absent and are then all null.

        Raises:
            UserError: a column is missing, one is not in the schema, or one holds null and must not.
        """
        known = set(schema.names)
        unknown = sorted(name for name in arrays if name not in known and not name.startswith("__"))
        if unknown:
            raise UserError(
                f"{where}: unknown column {prefix + unknown[0]!r}; the columns are {schema.names}"
            )
        length = len(next(iter(arrays.values()))) if arrays else 0
        complete = {}
        for field in schema:
            if field.name in arrays:
                complete[field.name] = array = arrays[field.name]
                if array.null_count and not field.nullable:
                    row = array.is_null().index(True).as_py()
                    raise UserError(f"{where}: {place(row)}, column {prefix}{field.name}: is null")
            elif field.nullable:
                complete[field.name] = pa.nulls(length, field.type)
            else:
                raise UserError(f"{where}: column {prefix}{field.name} is missing")
        return cls(complete, where, prefix, place)

    def refuse(self, name: str, row: int | None, problem: str) -> UserError:
        """The error for one cell, or for a whole column."""
        place = "" if row is None else f"{self.place(int(row))}, "
        one_line = " ".join(problem.split())
        return UserError(f"{self.where}: {place}column {self.prefix}{name}: {one_line}")

    def text(self, name: str, unsafe: str | None = None, meaning: str = "") -> list[Any]:
        """Strings; None where null and allowed.

        Args:
            name: of the column.
            unsafe: RE2 pattern that no value may match.
            meaning: what is wrong with a value that does.
        """
        array = self.arrays[name]
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_null(array.type):
            return [None] * len(array)
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise self.refuse(name, None, f"has type {array.type}, expected string")
        if unsafe is not None:
            bad = pc.fill_null(pc.match_substring_regex(array, unsafe), False)
            if pc.any(bad).as_py():
                row = pc.index(bad, True).as_py()
                raise self.refuse(name, row, f"{array[row].as_py()!r} {meaning}")
        return list(array.to_pylist())

    def integers(self, name: str, low: int, high: int) -> list[int]:
        """Integers from ``low`` to ``high``."""
        array = self.arrays[name]
        if not pa.types.is_integer(array.type):
            raise self.refuse(name, None, f"has type {array.type}, expected an integer")
        bad = pc.or_(pc.less(array, low), pc.greater(array, high))
        if pc.any(bad).as_py():
            row = pc.index(bad, True).as_py()
            raise self.refuse(name, row, f"{array[row].as_py()} is not within {low} to {high}")
        return list(array.to_pylist())

    def matrices(self, name: str, side: int) -> NDArray[np.float64]:
        """(n, side, side) float64 from lists of side x side finite numbers, row by row."""
        values, lengths = self._numbers(name)
        if (lengths != side * side).any():
            row = int(np.argmax(lengths != side * side))
            raise self.refuse(name, row, f"{lengths[row]} numbers, expected {side * side}, row by row")
        out = values.reshape(-1, side, side)
        finite = np.isfinite(out).all(axis=(1, 2))
        if not finite.all():
            raise self.refuse(name, int(np.argmin(finite)), "holds values that are not finite")
        return out

    def transforms(self, name: str) -> NDArray[np.float64]:
        """(n, 4, 4) float64 rigid transforms."""
        out = self.matrices(name, 4)
        if (row := find_not_rigid(out)) is not None:
            raise self.refuse(name, row, "not a rigid transform [R t; 0 0 0 1], given row by row")
        return out

    def vectors(self, name: str, lengths_allowed: tuple[int, ...]) -> list[NDArray[np.float64] | None]:
        """Float64 vectors of one of the lengths, or None where null."""
        array = self.arrays[name]
        if array.null_count == len(array):
            return [None] * len(array)
        present = pc.is_valid(array).to_numpy(zero_copy_only=False)
        values, lengths = self._numbers(name)
        bad = present & ~np.isin(lengths, lengths_allowed)
        if bad.any():
            row = int(np.argmax(bad))
            raise self.refuse(name, row, f"{lengths[row]} numbers, expected {lengths_allowed} or null")
        ends = np.cumsum(np.where(present, lengths, 0))
        pieces: list[NDArray[np.float64] | None] = []
        for row, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
            piece = values[end - length : end] if present[row] else None
            if piece is not None and not np.isfinite(piece).all():
                raise self.refuse(name, row, "holds values that are not finite")
            pieces.append(piece)
        return pieces

    def unique(self, name: str, values: Sequence[Hashable]) -> None:
        """Refuse the first of the values that was there before."""
        if len(set(values)) == len(values):
            return
        first: dict[Hashable, int] = {}
        for row, value in enumerate(values):
            if first.setdefault(value, row) != row:
                raise self.refuse(name, row, f"{value!r} is already in {self.place(first[value])}")

    def lists(self, name: str) -> tuple[pa.Array, NDArray[np.int64]]:
        """The concatenated items of a list column, and how many each row has."""
        array = self.arrays[name]
        if not _is_list(array.type):
            raise self.refuse(name, None, f"has type {array.type}, expected a list")
        return array.flatten(), pc.list_value_length(array).to_numpy(zero_copy_only=False).astype(np.int64)

    def _numbers(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        array = self.arrays[name]
        kind = array.type
        if not _is_list(kind) or not (
            pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
        ):
            raise self.refuse(name, None, f"has type {kind}, expected a list of double")
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        values = array.flatten()
        if values.null_count:
            flat = pc.index(pc.is_null(values), True).as_py()
            row = int(np.searchsorted(np.cumsum(lengths), flat, side="right"))
            raise self.refuse(name, row, "holds null")
        return values.cast(pa.float64(), safe=False).to_numpy(), lengths.astype(np.int64)


def _is_list(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType)
