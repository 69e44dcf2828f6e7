"""The two distillation losses of 3D open-vocabulary panoptic segmentation (Xiao et al., ECCV 2024).

Their equations are not to be had in full; docs/panoptic.md says what is our reading. Points that no camera
sees have no image feature and are left out by the caller. Q or M queries, P points, D feature width.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from labelgen.distill.losses.pooling import by_rows, mean

#: Of scores over all points: masks with less are of no seen point.
_LEAST = 1e-4


def object_distance(embedding: Tensor, mask: Tensor, feature: Tensor) -> Tensor:
    """Mean over objects of ``1 - cos(f, sum_v m_v x_v / sum_v m_v)``: L_O.

    Args:
        embedding: (M, D) f, class embedding of the query that each object was given to.
        mask: (M, P) m, scores in 0..1 of its predicted mask.
        feature: (P, D) x, image features.

    Returns:
        A number in 0..2; objects whose mask holds no point are left out, without any it is 0.
    """
    pooled = mask_pool(mask, feature)
    held = (mask.sum(1) > _LEAST).to(embedding.dtype)
    return mean(1 - cosine_similarity(embedding, pooled, dim=1), held)


def mask_pool(mask: Tensor, feature: Tensor) -> Tensor:
    """(M, D) mean of (P, D) features, weighted by (M, P) scores of masks; about 0 where a mask holds none."""
    return mask @ feature / mask.sum(1, keepdim=True).clamp_min(_LEAST)


def voxel_distance(embedding: Tensor, mask: Tensor, feature: Tensor) -> Tensor:
    """Mean over points of the distance of a feature and what masks and class embeddings rebuild of it: L_V.

    ``1 / sqrt(D) || r_v - x_v ||_1`` with ``r_v = sum_q m_qv f_q / max(1, sum_q m_qv)``, f_q of length 1.
    Over sqrt(D), the L1 distance is at most the L2 distance, whatever D is.

    Args:
        embedding: (Q, D) f, class embeddings.
        mask: (Q, P) m, scores in 0..1.
        feature: (P, D) x, L2-normalised image features.

    Returns:
        A number; 0 without points. The (P, D) table is held in blocks.
    """
    unit = normalize(embedding, dim=1)

    def losses(begin: int, end: int) -> Tensor:
        score = mask[:, begin:end].T
        rebuilt = score @ unit / score.sum(1, keepdim=True).clamp_min(1)
        apart: Tensor = (rebuilt - feature[begin:end]).abs().sum(1)
        return apart / math.sqrt(feature.shape[1])

    return mean(by_rows(losses, feature, feature.shape[1] + len(mask)))
