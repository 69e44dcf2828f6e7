"""Losses of predicted masks and classes, and the same as costs of every query with every object.

M or Q masks over P points; logits are what comes before the sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def focal(logits: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    """``-a_t (1 - p_t)^gamma log p_t`` of every number (Lin et al., ICCV 2017, eq. 5).

    ``p = sigmoid(logits)``; ``p_t = p`` and ``a_t = alpha`` where the target is 1, else ``1 - p`` and
    ``1 - alpha``.

    Args:
        logits: any shape.
        target: the same shape, 0 or 1.
        gamma: of the equation.
        alpha: of the equation.
    """
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    missing = p + target - 2 * p * target
    weight = alpha * target + (1 - alpha) * (1 - target)
    return weight * missing**gamma * entropy


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """``1 - (2 sum p t + 1) / (sum p + sum t + 1)`` of every mask (Milletari et al. 2016; MaskFormer's form).

    Args:
        logits: (M, P).
        target: (M, P), 0 or 1.

    Returns:
        (M,).
    """
    p = logits.sigmoid()
    return 1 - (2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)


def focal_cost(logits: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    """Mean over the points of `focal`, of every query with every object.

    Args:
        logits: (Q, P).
        target: (G, P), 0 or 1.
        gamma: see `focal`.
        alpha: see `focal`.

    Returns:
        (Q, G).
    """
    p = logits.sigmoid()
    inside = -alpha * (1 - p) ** gamma * logsigmoid(logits)
    outside = -(1 - alpha) * p**gamma * logsigmoid(-logits)
    return (inside @ target.T + outside @ (1 - target).T) / max(1, logits.shape[1])


def dice_cost(logits: Tensor, target: Tensor) -> Tensor:
    """`dice` of every query with every object: (Q, P) and (G, P) to (Q, G)."""
    p = logits.sigmoid()
    sums = p.sum(1)[:, None] + target.sum(1)
    return 1 - (2 * p @ target.T + 1) / (sums + 1)


def class_cost(logits: Tensor, label: Tensor, gamma: float, alpha: float) -> Tensor:
    """What `focal` of a query's class changes by if the object is given to it (as in P3Former's code).

    Args:
        logits: (Q, C).
        label: (G,) int64 columns.
        gamma: see `focal`.
        alpha: see `focal`.

    Returns:
        (Q, G).
    """
    chosen = logits[:, label]
    ones = torch.ones_like(chosen)
    return focal(chosen, ones, gamma, alpha) - focal(chosen, 0 * ones, gamma, alpha)
