"""Means over groups of rows, and row-wise losses whose M x M tables are never held as a whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Numbers of a similarity table that are held at once, for each of the few tables that a loss needs.
BLOCK = 1 << 23


def pool(feature: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each group: SLidR's superpoints (Sautier et al. 2022, eq. 1), not normalised again.

    Args:
        feature: (P, D).
        group: (P,) int64 in 0..groups - 1.
        groups: G.

    Returns:
        (G, D) means, zeros where a group has no row, and (G,) int64 rows of each group.
    """
    count = torch.bincount(group, minlength=groups)
    total = feature.new_zeros(groups, feature.shape[1]).index_add(0, group, feature)
    return total / count.clamp_min(1)[:, None], count


def by_rows(loss: Callable[[int, int], Tensor], anchor: Tensor, columns: int) -> Tensor:
    """Compute a loss for blocks of anchors; of several blocks, backward computes each anew.

    Args:
        loss: (begin, end) to the losses of these anchors, (end - begin,).
        anchor: (M, D).
        columns: width of the tables that ``loss`` makes.

    Returns:
        (M,).
    """
    rows = len(anchor)
    if not rows:
        return anchor.sum(1)
    step = max(1, BLOCK // max(1, columns))
    if rows <= step:
        return loss(0, rows)
    parts = [
        checkpoint(loss, begin, min(rows, begin + step), use_reentrant=False)
        for begin in range(0, rows, step)
    ]
    return torch.cat(parts)


def mean(losses: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of losses, or weighted mean; 0 with a gradient of 0 without losses or if all weights are 0.

    Args:
        losses: (M,).
        weight: (M,), not negative.
    """
    if weight is None:
        return losses.sum() / max(1, len(losses))
    total = weight.sum()
    return (losses * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))
