"""VLM2Scene's losses: filtered region contrast (SFR), class assignment (RSA), caption contrast (RCP).

Liao, Li, Ye: "VLM2Scene", AAAI 2024. Equation 2 (SFR) is the paper's; the formulas of RSA and RCP are not
public, and are read here as docs/distillation.md says.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from labelgen.distill.losses.contrast import info_nce
from labelgen.distill.losses.pooling import by_rows, mean


def filtered_contrast(
    anchor: Tensor, target: Tensor, text: Tensor, look: Tensor, temperature: float, epsilon: float
) -> Tensor:
    """Region contrast that leaves likely false negatives out (eq. 2).

    Mean over regions i of
    ``-log(exp(p_i.q_i / tau) / (sum_{j != i} T_ij exp(p_i.q_j / tau) + exp(p_i.q_i / tau)))``.
    ``T_ij`` is 0 where ``cos(t_i, x_i) - cos(t_i, x_j) < epsilon``: region j fits the text of region i
    almost as well as region i does.

    Args:
        anchor: (M, D) p, regions' point features.
        target: (M, D) q, regions' image features.
        text: (M, E) t, features of the regions' captions.
        look: (M, E) x, frozen image features in the space of the texts.
        temperature: tau.
        epsilon: of the filter; -2 or less filters nothing.

    Returns:
        A number; 0 without regions.
    """
    words, looks = normalize(text.detach(), dim=1), normalize(look.detach(), dim=1)

    def losses(begin: int, end: int) -> Tensor:
        own = torch.arange(begin, end, device=anchor.device)
        fits = words[begin:end] @ looks.T
        drop = fits[own - begin, own][:, None] - fits < epsilon
        drop[own - begin, own] = False
        logits = anchor[begin:end] @ target.T / temperature
        return cross_entropy(logits.masked_fill(drop, -torch.inf), own, reduction="none")

    return mean(by_rows(losses, anchor, len(target)))


def majority_class(label: Tensor, region: Tensor, regions: int, classes: int) -> Tensor:
    """Class that most rows of a region have (RSA: pixel classes are ragged at borders, masks are not).

    Args:
        label: (P,) int64 class of each point or pixel; below 0 or from ``classes`` on: none.
        region: (P,) int64 in 0..regions - 1.
        regions: R.
        classes: C.

    Returns:
        (R,) int64; the lowest class of several with most rows; -1 where no row has a class.
    """
    known = (label >= 0) & (label < classes)
    cells = region[known] * classes + label[known]
    votes = torch.bincount(cells, minlength=regions * classes).reshape(regions, classes)
    # Of equals, argmax promises no order.
    rank = votes * classes + torch.arange(classes - 1, -1, -1, device=votes.device)
    return torch.where(votes.sum(1) > 0, rank.argmax(1), -1)


def class_assignment(feature: Tensor, class_text: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Cross entropy of points with the class of their region: ``-log softmax_c(f_i.t_c / tau)`` at its class.

    Args:
        feature: (P, D) f, L2-normalised point features.
        class_text: (C, D), L2-normalised.
        label: (P,) int64 in 0..C - 1.
        temperature: tau.

    Returns:
        A number; 0 without points.
    """
    return mean(cross_entropy(feature @ class_text.T / temperature, label, reduction="none"))


def caption_contrast(anchor: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Text-point contrast: each region's points with its own caption, against those of other regions.

    `info_nce` with captions as targets. Regions with equal captions push no gradient on each other: their
    targets are one vector, so that both attract.

    Args:
        anchor: (M, D) p, regions' point features.
        text: (M, D) t, features of the regions' captions, L2-normalised.
        temperature: tau.
    """
    return info_nce(anchor, text, temperature)
