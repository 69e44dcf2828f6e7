"""Losses of supervised segmentation: cross entropy and Lovász-softmax, weighted by confidence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def weighted_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross entropy, each point counting by its weight: ``sum w_i * -log p_i[y_i] / sum w_i``.

    Args:
        logits: (M, C).
        label: (M,) int64 class of every point.
        weight: (M,) not negative; 1 by default. If all are 0, so is the loss.
    """
    losses = cross_entropy(logits, label, reduction="none")
    weight = torch.ones_like(losses) if weight is None else weight.to(losses.dtype)
    return (losses * weight).sum() / weight.sum().clamp_min(torch.finfo(losses.dtype).tiny)


def lovasz_softmax(probability: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Lovász-softmax over the classes that are there (Berman, Triki and Blaschko, CVPR 2018).

    For each class c, errors ``e_i = |1[y_i = c] - p_i[c]|`` are sorted falling, and weighed with the gradient
    of the Jaccard loss ``J = 1 - (G - sum of found) / (G + sum of others)`` along that order (algorithm 1);
    the mean over the classes is taken. With weights, a point counts as so many points: G, found and others
    are sums of weights.

    Args:
        probability: (M, C), rows sum to 1.
        label: (M,) int64 class of every point.
        weight: (M,) not negative; 1 by default.

    Returns:
        Scalar; 0 without points.
    """
    present = torch.unique(label)
    if weight is not None:
        present = torch.unique(label[weight > 0])
    if not len(present):
        return probability.sum() * 0
    weight = torch.ones(len(label), device=label.device) if weight is None else weight
    weight = weight.to(probability.dtype).unsqueeze(1)
    is_class = (label.unsqueeze(1) == present).to(probability.dtype)
    errors, order = (is_class - probability[:, present]).abs().sort(dim=0, descending=True)
    found = (is_class * weight).gather(0, order)
    others = ((1 - is_class) * weight).gather(0, order)
    total = found.sum(dim=0)
    jaccard = 1 - (total - found.cumsum(0)) / (total + others.cumsum(0))
    steps = torch.diff(jaccard, dim=0, prepend=jaccard.new_zeros(1, len(present)))
    loss: Tensor = (errors * steps).sum(dim=0).mean()
    return loss
