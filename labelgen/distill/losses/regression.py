"""Losses without negatives: ScaLR's distance between unit vectors, OpenScene's cosine distance."""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity, normalize

from labelgen.distill.losses.pooling import mean


def unit_distance(feature: Tensor, target: Tensor) -> Tensor:
    """Mean of ``|| k / |k| - q / |q| ||_2`` over pairs (ScaLR, Puy et al. 2024, eq. 1).

    Args:
        feature: (P, D) k, of any length.
        target: (P, D) q, of any length.

    Returns:
        A number in 0..2; 0 without pairs. Pairs that are equal have no gradient.
    """
    return mean(vector_norm(normalize(feature, dim=1) - normalize(target, dim=1), dim=1))


def cosine_distance(feature: Tensor, target: Tensor) -> Tensor:
    """Mean of ``1 - cos(f3d, f2d)`` over points (OpenScene, Peng et al. 2023, eq. 3).

    Args:
        feature: (P, D), of any length.
        target: (P, D), of any length.

    Returns:
        A number in 0..2; 0 without points.
    """
    return mean(1 - cosine_similarity(feature, target, dim=1))
