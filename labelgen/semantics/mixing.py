"""Ways to mix the values of a last attention: by neighbourhood, or within masks."""

from __future__ import annotations

import torch
from torch import Tensor

#: Cells; "Pay Attention to Your Neighbours" takes 5 for all models.
GAUSSIAN_STD = 5.0


def unmixed(value: Tensor) -> Tensor:
    """Every cell its own value: (B, heads, h, w, d) to (B, h, w, heads x d).

    MaskCLIP: Zhou et al. 2022 (arXiv 2112.01071), section 3.2.
    """
    return value.permute(0, 2, 3, 1, 4).flatten(3)


def neighbourhood(key: Tensor, value: Tensor) -> Tensor:
    """Every cell the values of cells with like keys, the nearer the more.

    NACLIP: Hajimiri, Ben Ayed and Dolz 2024 (arXiv 2404.08181), section 3.3: the softmax is over
    k_i k_j / sqrt(d) plus a Gaussian of the distance between cells i and j with maximum 1.

    Args:
        key: (B, heads, h, w, d).
        value: the same.

    Returns:
        (B, h, w, heads x d).
    """
    h, w = key.shape[2:4]
    bias = _gaussian(h, key)[:, None, :, None] * _gaussian(w, key)[None, :, None, :]
    mixed = torch.nn.functional.scaled_dot_product_attention(
        key.flatten(2, 3), key.flatten(2, 3), value.flatten(2, 3), attn_mask=bias.reshape(h * w, h * w)
    )
    return unmixed(mixed.reshape(value.shape))


def _gaussian(length: int, like: Tensor) -> Tensor:
    at = torch.arange(length, device=like.device, dtype=like.dtype)
    return torch.exp(-((at[:, None] - at) ** 2) / (2 * GAUSSIAN_STD**2))


def within_masks(key: Tensor, value: Tensor, counts: Tensor) -> Tensor:
    """Every region the mean of its cells, each of which attends to the region's cells alone.

    As CorrCLIP limits attention to a mask (Zhang et al. 2024, arXiv 2411.10086, "scope reconstruction"), with
    NACLIP's keys on both sides. A cell that the mask fills in part counts by that part: the logarithm of its
    pixels is added to its scores. Hence a region of one pixel has the value of its cell.

    Args:
        key: (heads, h, w, d), of one window.
        value: the same.
        counts: (K, h, w) pixels of each mask in each cell.

    Returns:
        (K, heads x d); zeros for a region without pixels.
    """
    key, value, counts = key.flatten(1, 2), value.flatten(1, 2), counts.flatten(1).to(key.dtype)
    mixed = value.new_zeros(len(counts), value.shape[0], value.shape[-1])
    filled = counts.cpu() > 0
    # One more number on both sides, 1 on the left and the logarithm on the right: the product is the score,
    # and its many numbers are gone through once.
    key = torch.nn.functional.pad(key * key.shape[-1] ** -0.25, (0, 1), value=1.0)
    for row in range(len(counts)):
        cells = filled[row].nonzero()[:, 0].to(key.device)
        if len(cells):
            left, weight = key.index_select(1, cells), counts[row].index_select(0, cells)
            right = left.clone()
            right[..., -1] = weight.log()
            share = (weight / weight.sum()) @ (left @ right.mT).softmax(dim=-1)
            mixed[row] = (share[:, None] @ value.index_select(1, cells))[:, 0]
    return mixed.flatten(1)
