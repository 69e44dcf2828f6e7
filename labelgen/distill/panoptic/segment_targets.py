"""What the queries of a frame should find: base things as objects, base stuff as one segment per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from labelgen.distill.batch import IGNORE


@dataclass(frozen=True)
class SegmentTargets:
    """Truth of one frame; points that are not among the rows are neither in nor out.

    Attributes:
        rows: (P,) int64 points of the frame that have a label.
        thing: (G,) int64 class of each object.
        thing_mask: (G, P) 0 or 1.
        stuff: (K,) int64 places, in the list of stuff classes, of those that are there.
        stuff_rows: (S,) int64 points that stuff is asked of: ``rows``, or all.
        stuff_mask: (K, S) 0 or 1.
    """

    rows: Tensor
    thing: Tensor
    thing_mask: Tensor
    stuff: Tensor
    stuff_rows: Tensor
    stuff_mask: Tensor


def find_segment_targets(
    label: Tensor,
    instance: Tensor,
    things: Sequence[int],
    stuff: Sequence[int],
    min_points: int,
    everywhere: bool = False,
) -> SegmentTargets:
    """What is to be found in one frame.

    Points of a thing without an instance belong to no object, but are known to be in no segment of stuff.

    Args:
        label: (n,) int64 class, `IGNORE` for none.
        instance: (n,) int64, negative for none.
        things: classes of objects.
        stuff: classes of segments.
        min_points: objects with fewer are left out.
        everywhere: points without a label are outside of every segment of stuff.
    """
    found = torch.stack([label == c for c in stuff]) if stuff else label.new_zeros(0, len(label)).bool()
    present = found.any(1).nonzero()[:, 0]
    rows = (label != IGNORE).nonzero()[:, 0]
    stuff_rows = torch.arange(len(label), device=label.device) if everywhere else rows
    label, instance = label[rows], instance[rows]
    own = torch.isin(label, label.new_tensor(tuple(things))) & (instance >= 0)
    number, member, size = torch.unique(instance[own], return_inverse=True, return_counts=True)
    kind = torch.zeros_like(number).index_put_((member,), label[own])  # an object is of one class
    large = (size >= min_points).nonzero()[:, 0]
    mask = (instance == number[large, None]) & own
    return SegmentTargets(
        rows, kind[large], mask.float(), present, stuff_rows, found[present][:, stuff_rows].float()
    )
