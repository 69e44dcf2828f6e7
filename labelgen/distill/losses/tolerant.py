"""ST-SLidR: negatives that look like the anchor are tolerated, and frequent looks weigh less.

Mahmoud et al., "Self-Supervised Image-to-Point Distillation via Semantically Tolerant Contrastive Loss",
CVPR 2023, and its released code, which the details follow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from labelgen.distill.losses.pooling import BLOCK, by_rows, mean


def tolerant_contrast(
    anchor: Tensor,
    target: Tensor,
    look: Tensor,
    temperature: float,
    quantile: float = 0.01,
    balance: float | None = 0.5,
) -> Tensor:
    """InfoNCE whose logits are ``w_ij k_i.q_j / tau``, averaged with weights of the anchors.

    ``w_ij`` is 0 for the negatives whose ``1 - S_ij`` lies below the quantile of row i (and where it is 0),
    else 1; ``w_ii`` is 1. With quantile 0 it is ``1 - S_ij`` itself. The weight acts on the logit, so that a
    tolerated negative stays in the sum as exp(0). ``S`` is the cosine of the frozen features, at least 0.

    Args:
        anchor: (M, D) k, means of rows of length 1.
        target: (M, D) q, L2-normalised.
        look: (M, E) frozen image features before any projection.
        temperature: tau.
        quantile: share of each anchor's most similar negatives that are tolerated.
        balance: least similarity that counts for `balance_weights`; None weighs all anchors alike.

    Returns:
        A number; 0 without pairs.
    """
    unit = normalize(look.detach(), dim=1)

    def losses(begin: int, end: int) -> Tensor:
        own = torch.arange(begin, end, device=anchor.device)
        weight = 1 - (unit[begin:end] @ unit.T).clamp(0, 1)
        if quantile > 0:
            weight = ((weight >= low_quantile(weight, quantile)) & (weight > 0)).to(weight)
        weight[own - begin, own] = 1
        return cross_entropy(anchor[begin:end] @ target.T / temperature * weight, own, reduction="none")

    each = by_rows(losses, anchor, len(target))
    return mean(each, None if balance is None else balance_weights(look, balance))


def low_quantile(rows: Tensor, share: float) -> Tensor:
    """As `torch.quantile` over each row, without sorting all of it.

    Args:
        rows: (R, M), M above 0.
        share: 0..1; fast where low.

    Returns:
        (R, 1), interpolated linearly.
    """
    place = share * (rows.shape[1] - 1)
    below = int(place)
    least = rows.topk(min(below + 2, rows.shape[1]), dim=1, largest=False).values
    return torch.lerp(least[:, below], least[:, -1], place - below)[:, None]


def balance_weights(look: Tensor, threshold: float = 0.5) -> Tensor:
    """Weights of the anchors: 1 - votes, where an anchor's votes are how much of the batch looks like it.

    ``votes_i = sum_j S_ij [S_ij >= threshold]``, scaled to 0..1 over the batch. If all anchors have equally
    many votes (to 1e-5 of them), all weights are 1.

    Args:
        look: (M, E) frozen image features.
        threshold: least cosine that counts.

    Returns:
        (M,) in 0..1.
    """
    if not len(look):
        return look.new_zeros(0)
    unit = normalize(look.detach(), dim=1)
    step = max(1, BLOCK // len(unit))
    votes = []
    for begin in range(0, len(unit), step):
        similar = unit[begin : begin + step] @ unit.T
        votes.append(torch.where(similar >= threshold, similar, 0).sum(1))
    all_votes = torch.cat(votes)
    above = all_votes - all_votes.min()
    most = above.max()
    # Scaled up, the rounding of equal votes would weigh anchors at random.
    return torch.where(most > 1e-5 * all_votes.max(), 1 - above / most, torch.ones_like(above))
