"""Puts frames of different lengths into one batch: rows one after another, with offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from labelgen.data.fields import Sample, group_of


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Make one batch of B samples, for ``DataLoader(..., collate_fn=collate)``.

    Args:
        samples: with the same fields.

    Returns:
        ``frame_id``: list of B ids (so ``epoch``); each field as one tensor (texts: one list), the samples'
        rows one after another; ``points/offsets``, ``views/offsets``, ``regions/offsets``: (B + 1,) int64, rows of sample b
        are [b] to [b + 1]. Numbers of points, regions and cameras still count within their frame.
    """
    import torch  # what is collated is tensors; reading needs none

    batch: dict[str, Any] = {}
    for name in samples[0]:
        rows = [sample[name] for sample in samples]
        if name in ("frame_id", "epoch"):
            batch[name] = rows
            continue
        if isinstance(rows[0], list):  # texts
            batch[name] = [text for part in rows for text in part]
        else:
            batch[name] = torch.from_numpy(_as_torch_can(np.concatenate([np.asarray(part) for part in rows])))
        offsets = np.cumsum([0, *(len(part) for part in rows)], dtype=np.int64)
        batch.setdefault(f"{group_of(name)}/offsets", torch.from_numpy(offsets))
    return batch


def _as_torch_can(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Torch computes little with unsigned integers wider than a byte."""
    wider = {"uint16": np.int32, "uint32": np.int64}.get(values.dtype.name)
    return values if wider is None else values.astype(wider)
