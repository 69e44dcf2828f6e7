"""InfoNCE between pairs: PPKT's points and pixels, SLidR's superpoints and superpixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from labelgen.distill.losses.pooling import by_rows, mean


def info_nce(anchor: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Mean over pairs i of ``-log(exp(k_i.q_i / tau) / sum_j exp(k_i.q_j / tau))``.

    PPKT (Liu et al. 2021, eq. 1) takes it over points and pixels, SLidR (Sautier et al. 2022, eq. 2) over
    the means of regions.

    Args:
        anchor: (M, D) k, rows of length 1 or means of such rows.
        target: (M, D) q, L2-normalised.
        temperature: tau; 0.07 in both papers.

    Returns:
        A number; 0 without pairs.
    """

    def losses(begin: int, end: int) -> Tensor:
        logits = anchor[begin:end] @ target.T / temperature
        own = torch.arange(begin, end, device=anchor.device)
        return cross_entropy(logits, own, reduction="none")

    return mean(by_rows(losses, anchor, len(target)))
