"""The field's augmentations of a point cloud, drawn from a generator that is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.distill.config import DataConfig

#: {layout of raw files: mean and standard deviation of intensity}, of ScaLR (Puy et al., CVPR 2024).
INTENSITY = {"nuscenes": (18.742355, 22.04632), "kitti": (0.28613698, 0.14090556)}


def normalise_intensity(intensity: NDArray[np.float32], layout: str) -> NDArray[np.float32]:
    """Intensity with mean 0 and deviation 1 over the data set; by its own values where that is not known.

    Where it is not finite, as at points that are no return, it is 0.
    """
    known = np.isfinite(intensity)
    if layout in INTENSITY or not known.any():
        mean, deviation = INTENSITY.get(layout, (0.0, 1.0))
    else:
        values = intensity[known].astype(np.float64)
        mean, deviation = float(values.mean()), float(values.std()) or 1.0
    normal: NDArray[np.float32] = np.where(known, (intensity - mean) / deviation, 0).astype(np.float32)
    return normal


def move(xyz: NDArray[np.float32], config: DataConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rotate about z, mirror x and y, scale.

    Args:
        xyz: (N, 3) metres.
        config: which of them, and how much.
        rng: all draws are made whatever the configuration, so that switching one leaves the others.
    """
    angle, mirror, scale = rng.uniform(0, 2 * np.pi), rng.random(2), rng.uniform(-1, 1)
    matrix = np.eye(3)
    if config.rotate:
        matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:2] *= np.where(mirror < config.flip, -1.0, 1.0)[:, None]
    matrix *= 1 + config.scale * scale
    moved: NDArray[np.float32] = (xyz @ matrix.T.astype(np.float32)).astype(np.float32)
    return moved


def in_sector(xyz: NDArray[np.float32], begin: float, width: float = np.pi) -> NDArray[np.bool_]:
    """(N,) whether a point's azimuth lies in a sector, for PolarMix (Xiao et al., NeurIPS 2022, scene level).

    Args:
        xyz: (N, 3) metres.
        begin: azimuth where the sector begins, radians.
        width: of the sector, radians.
    """
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    inside: NDArray[np.bool_] = (azimuth - begin) % (2 * np.pi) < width
    return inside


def voxelise(
    xyz: NDArray[np.float32], side: float, rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep one point per voxel.

    Args:
        xyz: (N, 3) finite, metres.
        side: of the voxels.
        rng: draws the point that is kept; None keeps the first.

    Returns:
        (n,) rows of the points that are kept, ascending where the first is kept; and (N,) for every point the
        number of the kept one in its voxel.
    """
    if not len(xyz):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    cell = np.floor(xyz / side).astype(np.int64)
    cell -= cell.min(axis=0)
    key = (cell[:, 0] * (int(cell[:, 1].max()) + 1) + cell[:, 1]) * (int(cell[:, 2].max()) + 1) + cell[:, 2]
    order = np.arange(len(xyz)) if rng is None else rng.permutation(len(xyz))
    _, first, voxel = np.unique(key[order], return_index=True, return_inverse=True)
    inverse = np.empty(len(xyz), np.int64)
    inverse[order] = voxel
    return order[first], inverse
