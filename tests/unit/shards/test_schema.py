"""The table of arrays: what it promises, and that its written form says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labelgen.shards.columns import pack, pack_dense
from labelgen.shards.schema import ARRAYS, CORE, GROUPS, OFFSETS, check_shapes, required
from tests.helpers.runs import some_records

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "shard-format.md"


def shapes(**more: object) -> dict[str, tuple[str, tuple[int, ...]]]:
    records = some_records(**more)
    columns = pack(records, 32) | pack_dense(records)
    return {name: (values.dtype.name, values.shape) for name, values in columns.items()}


def all_shapes() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Of records that hold everything, dense features of either kind."""
    full = {"captions": True, "parents": True, "cloud": True, "reach": 8}
    return shapes(**full, dense="float16") | shapes(**full, dense="int8")


def test_every_array_is_written_and_nothing_else() -> None:
    everything = all_shapes()
    assert set(everything) == set(ARRAYS)
    assert set(shapes()) == required(GROUPS)
    check_shapes(everything)
    check_shapes(shapes(regions=0))
    check_shapes(shapes(points=0))


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_each_array_of_another_type_or_length_is_refused(name: str) -> None:
    good = all_shapes()
    dtype, shape = good[name]
    with pytest.raises(ValueError, match=name):
        check_shapes(good | {name: ("float64", shape)})
    with pytest.raises(ValueError, match=name):
        check_shapes(good | {name: (dtype, (*shape, 1))})
    if not name.endswith("_bytes"):  # nothing else in the table says how many bytes there are
        with pytest.raises(ValueError, match=r"makes axis|frames are possible"):
            check_shapes(good | {name: (dtype, (shape[0] + 1, *shape[1:]))})


def test_core_and_offsets_are_needed() -> None:
    good = shapes(reach=8)
    for name in (*CORE, *OFFSETS.values()):
        with pytest.raises(ValueError, match=name):
            check_shapes({other: value for other, value in good.items() if other != name})


def test_arrays_of_a_later_writer_are_passed_over() -> None:
    check_shapes(shapes() | {"points/velocity": ("float32", (3, 200, 2))})


def test_the_document_lists_the_same_arrays() -> None:
    rows = re.findall(
        r"^\| `(\w+/\w+)`( \(optional\))? \| (\w+) \| \(([^)]*)\) \| ([^|]*) \| ([\d,]+) "
        r"\| (yes|no) \| (.*) \|$",
        DOCUMENT.read_text(),
        re.MULTILINE,
    )
    documented = {row[0]: row[1:] for row in rows}
    assert list(documented) == list(ARRAYS)
    for name, spec in ARRAYS.items():
        assert documented[name] == (
            " (optional)" if spec.optional else "",
            spec.dtype,
            ", ".join(str(axis) for axis in spec.axes),
            "NaN" if spec.fill != spec.fill else str(spec.fill),
            f"{spec.chunk:,}",
            "yes" if spec.compressed else "no",
            spec.text,
        ), name
