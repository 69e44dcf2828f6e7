"""UOV's tri-modal pre-training (TMP): points with the whole vocabulary, by soft targets.

Sun et al., "3D Unsupervised Learning by Distilling 2D Open-Vocabulary Segmentation Models" (UOV, later AFOV),
2024, and its released code. The image side of TMP is `labelgen.distill.losses.contrast.info_nce`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labelgen.distill.losses.pooling import by_rows, mean


def soft_targets(text: Tensor, group: Tensor, own: float = 0.2) -> Tensor:
    """What a region of each word should be like: its word, and the words of the same group.

    ``w_yc = own [c = y] + (1 - own) t_y.t_c [g(c) = g(y)]``, rows divided by their sum.

    Args:
        text: (W, D) features of the words, L2-normalised.
        group: (W,) int64 group of each word, such as its class.
        own: share of the word itself; 0.2 in the released code.

    Returns:
        (W, W); row y is the target of regions whose word is y.
    """
    same = group[:, None] == group
    weight = own * torch.eye(len(text)).to(text) + (1 - own) * (text @ text.T) * same
    return weight / weight.sum(1, keepdim=True)


def text_contrast(anchor: Tensor, text: Tensor, target: Tensor, word: Tensor, temperature: float) -> Tensor:
    """Mean over regions i of ``-sum_c p_ic log softmax_c(k_i.t_c / tau)``.

    Args:
        anchor: (M, D) k, means of L2-normalised point features.
        text: (W, D) t, L2-normalised.
        target: (W, W) of `soft_targets`.
        word: (M,) int64 word of each region.
        temperature: tau; 0.07.

    Returns:
        A number; 0 without regions.
    """

    def losses(begin: int, end: int) -> Tensor:
        logits = anchor[begin:end] @ text.T / temperature
        return -(target[word[begin:end]] * logits.log_softmax(1)).sum(1)

    return mean(by_rows(losses, anchor, len(text)))
