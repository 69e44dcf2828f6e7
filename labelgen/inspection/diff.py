"""What changed between two runs of the same frames: labels by pair of classes, with frames to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.runs import Run

_EXAMPLES = 3
_NOTHING = "unlabelled"


def diff_runs(run_a: Run, run_b: Run) -> dict[str, Any]:
    """Compare the labels of all frames that two runs share; classes are compared by name.

    Args:
        run_a: before.
        run_b: after.

    Returns:
        Plain data. ``frames``: shared; ``only_a``, ``only_b``: ids of frames that one of them lacks;
        ``points``, ``changed``, ``changed_frames``; ``pairs``: ``from``, ``to`` (names, or "unlabelled"),
        ``points``, ``frames``, ``examples`` (ids of the frames with most), most points first.

    Raises:
        UserError: no frame is shared, a shard is damaged, or a frame has another number of points.
    """
    shared = [frame_id for frame_id in run_a.frames if frame_id in run_b]
    if not shared:
        raise UserError(f"{run_a.url} and {run_b.url} have no frame in common")
    names: dict[str, int] = {}
    table_a, table_b = (_by_name(run, names) for run in (run_a, run_b))
    names[_NOTHING] = nothing = len(names)
    table_a[UNLABELLED] = table_b[UNLABELLED] = nothing
    size = len(names)
    total = np.zeros((size, size), np.int64)
    places: dict[tuple[int, int], list[tuple[int, str]]] = {}
    points = changed_frames = 0
    for frame_id in shared:
        before, after = (run.frame(frame_id).labels.label for run in (run_a, run_b))
        if len(before) != len(after):
            raise UserError(
                f"frame {frame_id} has {len(before)} points in one run and {len(after)} in the other"
            )
        pair = table_a[before].astype(np.int64) * size + table_b[after]
        counts = np.bincount(pair, minlength=size * size).reshape(size, size)
        total += counts
        points += len(before)
        moved = [(a, b) for a, b in np.argwhere(counts).tolist() if a != b]
        changed_frames += bool(moved)
        for a, b in moved:
            places.setdefault((a, b), []).append((-int(counts[a, b]), frame_id))
    words = list(names)
    pairs = [
        {
            "from": words[a],
            "to": words[b],
            "points": int(total[a, b]),
            "frames": len(places[a, b]),
            "examples": [frame_id for _, frame_id in sorted(places[a, b])[:_EXAMPLES]],
        }
        for a, b in places
    ]
    pairs.sort(key=lambda entry: (-int(entry["points"]), str(entry["from"]), str(entry["to"])))  # type: ignore[call-overload]
    return {
        "frames": len(shared),
        "only_a": [frame_id for frame_id in run_a.frames if frame_id not in run_b],
        "only_b": [frame_id for frame_id in run_b.frames if frame_id not in run_a],
        "points": points,
        "changed": int(total.sum() - np.trace(total)),
        "changed_frames": changed_frames,
        "pairs": pairs,
    }


def _by_name(run: Run, names: dict[str, int]) -> NDArray[np.int32]:
    """(256,) number of each of the run's class names in ``names``, which is added to."""
    taxonomy = run.taxonomy
    table = np.empty(256, np.int32)
    for value in range(UNLABELLED):
        name = taxonomy.names[value] if value < len(taxonomy) else f"class {value}"
        if value < len(taxonomy) or name in names:
            table[value] = names.setdefault(name, len(names))
        else:
            table[value] = names.setdefault("no class of the taxonomy", len(names))
    return table
