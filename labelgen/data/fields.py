"""Which arrays of a frame a trainer wants, by name, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labelgen.core.errors import UserError
from labelgen.shards import StoredFrame, StoredRun
from labelgen.shards.columns import decode_uv
from labelgen.shards.schema import ARRAYS

#: What a trainer gets for one frame: ``frame_id`` and an array for each field.
Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]
#: Rows of points, views or regions: not the bytes and offsets of texts.
NAMES = tuple(
    name for name, spec in ARRAYS.items() if spec.group != "frame" and spec.axes[0] in ("F", "V", "R")
)
#: Fields that are computed, with the arrays that they are made of.
COMPUTED: dict[str, tuple[str, ...]] = {
    "points/feature": ("regions/feature", "views/point", "views/region", "views/visible"),
    "points/dense_feature": ("dense/size", "views/point", "views/uv", "views/visible"),
    "regions/caption": ("regions/caption_bytes", "regions/caption_offsets"),
    "regions/text_feature": ("regions/class_scores", "regions/feature"),
}
_GROUPS = ("points", "views", "regions")
_HINTS = {
    "points/xyz": "; label with shards.store_points=true",
    "points/intensity": "; label with shards.store_points=true",
    "points/dense_feature": "; label with semantics.dense_features={}",
    "regions/caption": "; label with semantics.captions=blip2",
}


def choose_fields(run: StoredRun, wanted: Sequence[str]) -> tuple[str, ...]:
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
        elif name not in NAMES and name not in COMPUTED:
            raise UserError(f"no field {name!r}; choose from {', '.join((*_GROUPS, *NAMES, *COMPUTED))}")
        elif missing := set(arrays_of([name])) - run.arrays:
            hint = _HINTS.get(name, _HINTS.get(min(missing).partition("_")[0], ""))
            raise UserError(f"{run.url} does not store {name}{hint}")
        else:
            chosen.append(name)
    return tuple(dict.fromkeys(chosen))


def arrays_of(fields: Sequence[str]) -> list[str]:
    """Names of the stored arrays that fields are read from."""
    return [array for name in fields for array in COMPUTED.get(name, (name,))]


def read_sample(frame: StoredFrame, fields: Sequence[str]) -> Sample:
    """Read the fields of one frame.

    Returns:
        ``frame_id``, and {field: array of N, V or K rows} as stored, but for ``views/uv``: (V, 2) float32
        pixels. Computed: ``points/feature`` and ``points/dense_feature`` (N, D) float16, see
        `StoredFrame.point_features`; ``regions/caption``, a list of K texts; ``regions/text_feature`` (K, D)
        float16, see `labelgen.semantics.strategies.text_feature`.

    Raises:
        UserError: something in the frame's shard is damaged.
    """
    sample: Sample = {"frame_id": frame.frame_id}
    for name in fields:
        sample[name] = _COMPUTE[name](frame) if name in _COMPUTE else frame.array(name)
    return sample


def _text_feature(frame: StoredFrame) -> Any:
    from labelgen.semantics.strategies import text_feature

    embedding = frame.attributes.get("text_embeddings")
    if embedding is None:
        raise UserError(f"frame {frame.frame_id}: its shard holds no text embeddings of the classes")
    return text_feature(frame.semantics, np.asarray(embedding, np.float32), "both")


_COMPUTE: dict[str, Callable[[StoredFrame], Any]] = {
    "views/uv": lambda frame: decode_uv(frame.array("views/uv"), frame.uv_steps),
    "points/feature": lambda frame: frame.point_features("regions"),
    "points/dense_feature": lambda frame: frame.point_features("dense"),
    "regions/caption": lambda frame: list(frame.semantics.caption or ()),
    "regions/text_feature": _text_feature,
}


def group_of(name: str) -> str:
    """``points``, ``views`` or ``regions``."""
    return name.partition("/")[0]
