"""Which arrays of a frame a trainer wants, by name, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from labelgen.errors import UserError
from labelgen.shards import Run, StoredFrame
from labelgen.shards.columns import decode_uv
from labelgen.shards.schema import ARRAYS

#: What a trainer gets for one frame: ``frame_id`` and an array for each field.
Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]
#: Rows of points, views or regions: not the bytes and offsets of texts.
NAMES = tuple(
    name for name, spec in ARRAYS.items() if spec.group != "frame" and spec.axes[0] in ("F", "V", "R")
)
_GROUPS = ("points", "views", "regions")
_POINTS = ("points/xyz", "points/intensity")


def choose_fields(run: Run, wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of arrays from names of arrays or groups (``points``, ``views``, ``regions``).

    Args:
        run: open.
        wanted: such as ``["points/label", "points/xyz", "views", "regions/feature"]``; a group stands for
            those of its arrays that the run stores.

    Returns:
        Names of arrays as in docs/shard-format.md, each once, in the order given.

    Raises:
        UserError: no such field, or the run does not store it.
    """
    stored = set(NAMES) & run.arrays
    chosen: list[str] = []
    for name in wanted:
        if name in _GROUPS:
            chosen += [field for field in NAMES if field in stored and ARRAYS[field].group == name]
        elif name not in NAMES:
            raise UserError(f"no field {name!r}; there are {', '.join((*_GROUPS, *NAMES))}")
        elif name not in stored:
            hint = "; label with shards.store_points=true" if name in _POINTS else ""
            raise UserError(f"{run.url} does not store {name}{hint}")
        else:
            chosen.append(name)
    return tuple(dict.fromkeys(chosen))


def read_sample(frame: StoredFrame, fields: Sequence[str]) -> Sample:
    """Read the fields of one frame.

    Returns:
        ``frame_id``, and {field: array of N, V or K rows} as stored, but for ``views/uv``: (V, 2) float32
        pixels.

    Raises:
        UserError: something in the frame's shard is damaged.
    """
    sample: Sample = {"frame_id": frame.frame_id}
    for name in fields:
        values = frame.array(name)
        sample[name] = decode_uv(values, frame.uv_steps) if name == "views/uv" else values
    return sample


def group_of(name: str) -> str:
    """``points``, ``views`` or ``regions``."""
    return name.partition("/")[0]
