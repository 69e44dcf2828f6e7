"""The pyramid of Approximate Flat Interaction on a GPU; see `labelgen.labels.afi` for the method."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelgen.labels.afi import AfiSettings, Smooth, fibonacci_sphere

#: Rows of a distance matrix that are held at once.
_ROWS = 16384


class Level(NamedTuple):
    """As `labelgen.labels.afi.Level`; the cloud itself has no ``line``, ``length`` and ``weight``."""

    xyz: Tensor
    feature: Tensor
    line: Tensor | None = None
    length: Tensor | None = None
    weight: Tensor | None = None


def smoother(device: str | torch.device) -> Smooth:
    """`labelgen.labels.afi.smooth_features` on ``device``.

    Sums are in another order, so that labels of points between two classes may differ; fewer than one in a
    thousand do.
    """

    def smooth(
        points: NDArray[np.float32], feature: NDArray[np.float32], settings: AfiSettings
    ) -> NDArray[np.float32]:
        with torch.no_grad():
            found = _smooth(
                torch.from_numpy(points).to(device), torch.from_numpy(feature).to(device), settings
            )
        arrived: NDArray[np.float32] = found.cpu().numpy()
        return arrived

    return smooth


def _smooth(xyz: Tensor, feature: Tensor, settings: AfiSettings) -> Tensor:
    directions = torch.from_numpy(fibonacci_sphere(settings.directions)).to(xyz)
    levels = [Level(xyz, feature)]
    for count in settings.centres:
        levels.append(_coarser(levels[-1], count, directions, settings))
    found = levels[-1].feature
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        found = _finer(fine, coarse, found, settings)
    return found


def _coarser(below: Level, count: int, directions: Tensor, settings: AfiSettings) -> Level:
    A = len(directions)
    centres = _farthest_points(below.xyz, min(count, len(below.xyz)))
    near = _nearest(below.xyz, below.xyz[centres], settings.neighbours)  # (P, k)
    offset = below.xyz[near] - below.xyz[centres][:, None]  # (P, k, 3)
    away = offset.norm(dim=-1, keepdim=True)
    unit = offset / away.clamp_min(torch.finfo(torch.float32).tiny)
    bins = (unit @ directions.T).argmax(-1)  # (P, k); the centre itself falls in bin 0
    counts = (away[..., 0] > 0).float()
    mean = _by_bin(offset, bins, A) / _by_bin(counts[..., None], bins, A).clamp_min(1)
    length = mean.norm(dim=-1)
    line = mean / length[..., None].clamp_min(torch.finfo(torch.float32).tiny)
    extent = counts
    influence = torch.ones(len(centres), device=unit.device)
    if below.line is not None:
        extent = counts * _on_one_line(below, centres, near, unit, away[..., 0], settings.gamma)
        influence = extent.sum(1)
        influence = influence / influence.mean().clamp_min(torch.finfo(torch.float32).tiny)
    weight = _share(_by_bin(extent[..., None], bins, A)[..., 0])

    around = below.feature[near]  # (P, k, F)
    omega = _share(torch.where(length > 0, weight / length.clamp_min(1e-30), torch.zeros_like(weight)))
    pooled = (omega[..., None] * _share(_by_bin(around, bins, A))).sum(1)
    found = influence[:, None] * pooled + 0.1 * below.feature[centres] + 1e-8 * around.amax(1)
    return Level(below.xyz[centres], _share(found), line, length, weight)


def _on_one_line(
    below: Level, centres: Tensor, near: Tensor, unit: Tensor, away: Tensor, gamma: float
) -> Tensor:
    """(P, k); see `labelgen.labels.flat._on_one_line`."""
    assert below.line is not None
    assert below.length is not None
    assert below.weight is not None
    sums, ahead, behind = [], [], []
    for rows in (centres[:, None].expand_as(near), near):
        cosine = (below.line[rows] @ unit[..., None])[..., 0]  # (P, k, A)
        length, zero = below.length[rows], torch.zeros_like(cosine)
        sums.append(torch.where(cosine.abs() > gamma, below.weight[rows], zero).sum(-1))
        ahead.append(torch.where(cosine > gamma, length, zero).amax(-1))
        behind.append(torch.where(cosine < -gamma, length, zero).amax(-1))
    covered = ahead[0] + behind[0] + ahead[1] + behind[1]
    gap = (away + behind[0] + ahead[1]).clamp_min(torch.finfo(torch.float32).tiny)
    return sums[0] * sums[1] * covered / gap


def _finer(fine: Level, coarse: Level, feature: Tensor, settings: AfiSettings) -> Tensor:
    assert coarse.line is not None
    assert coarse.weight is not None
    near = _nearest(coarse.xyz, fine.xyz, settings.back)  # (n, k)
    offset = coarse.xyz[near] - fine.xyz[:, None]
    away = offset.norm(dim=-1)
    cosine = (coarse.line[near] @ offset[..., None])[..., 0].abs()  # (n, k, A)
    there = (cosine > settings.gamma * away[..., None]) & (away > 0)[..., None]
    part = torch.where(there, coarse.weight[near], torch.zeros_like(cosine)).sum(-1)
    total = part.sum(1)
    spread = _share(_share(part) + 1e-6)
    exact = len(fine.xyz) == settings.down * len(coarse.xyz)
    keep = 1e-8 + (0.3 if exact else 0.01) * total.mean()
    found = total[:, None] * (spread[..., None] * feature[near]).sum(1) + keep * fine.feature
    return _share(found)


def _share(values: Tensor) -> Tensor:
    """Divided by their sum along the last axis; zeros stay."""
    return values / values.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def _by_bin(values: Tensor, bins: Tensor, count: int) -> Tensor:
    """(P, k, F) and (P, k) to the sums (P, count, F)."""
    out = torch.zeros((len(values), count, values.shape[-1]), device=values.device)
    return out.scatter_add_(1, bins[..., None].expand_as(values), values)


def _farthest_points(xyz: Tensor, count: int) -> Tensor:
    away = torch.full((len(xyz),), torch.inf, device=xyz.device)
    out = torch.zeros(count, dtype=torch.int64, device=xyz.device)
    for k in range(1, count):
        away = torch.minimum(away, ((xyz - xyz[out[k - 1]]) ** 2).sum(1))
        out[k] = away.argmax()
    return out


def _nearest(tree: Tensor, points: Tensor, count: int) -> Tensor:
    k = min(count, len(tree))
    # Differences, not the expanded square: coordinates of a hundred metres would cost it all digits.
    found = [
        torch.cdist(part, tree, compute_mode="donot_use_mm_for_euclid_dist").topk(k, largest=False)[1]
        for part in (points[begin : begin + _ROWS] for begin in range(0, len(points), _ROWS))
    ]
    return torch.cat(found)
