"""The panoptic losses' equations, term by term, as slowly as they are written."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from tests.unit.distill.literal import average, cos, total


def focal(logit: Tensor, target: float, gamma: float, alpha: float) -> Tensor:
    p = 1 / (1 + torch.exp(-logit))
    if target == 1:
        return -alpha * (1 - p) ** gamma * torch.log(p)
    return -(1 - alpha) * p**gamma * torch.log(1 - p)


def mask_focal(logits: Tensor, target: Tensor, gamma: float, alpha: float) -> Tensor:
    return average([focal(x, float(t), gamma, alpha) for x, t in zip(logits, target, strict=True)])


def dice(logits: Tensor, target: Tensor) -> Tensor:
    p = [1 / (1 + torch.exp(-x)) for x in logits]
    shared = total([a * t for a, t in zip(p, target, strict=True)])
    return 1 - (2 * shared + 1) / (total(p) + target.sum() + 1)


def matching(cost: list[list[float]]) -> float:
    """The lowest sum of costs over all ways to give every object (column) a query (row) of its own, or every
    query an object where there are fewer queries."""
    Q, G = len(cost), len(cost[0]) if cost else 0
    if Q >= G:
        return min(sum(cost[q][g] for g, q in enumerate(rows)) for rows in permutations(range(Q), G))
    return min(sum(cost[q][g] for q, g in enumerate(columns)) for columns in permutations(range(G), Q))


def object_distance(f: Tensor, m: Tensor, x: Tensor) -> Tensor:
    parts = []
    for i in range(len(f)):
        weight = total([m[i, v] for v in range(len(x))])
        if weight.item() > 1e-4:
            pooled = torch.stack([m[i, v] * x[v] for v in range(len(x))]).sum(0) / weight
            parts.append(1 - cos(f[i], pooled))
    return average(parts)


def voxel_distance(f: Tensor, m: Tensor, x: Tensor) -> Tensor:
    parts = []
    for v in range(len(x)):
        rebuilt, weight = torch.zeros_like(x[v]), torch.zeros((), dtype=x.dtype)
        for q in range(len(f)):
            rebuilt = rebuilt + m[q, v] * f[q] / f[q].pow(2).sum().sqrt()
            weight = weight + m[q, v]
        if weight.item() > 1:
            rebuilt = rebuilt / weight
        parts.append((rebuilt - x[v]).abs().sum() / x.shape[1] ** 0.5)
    return average(parts)
