"""Rigid transforms in bulk, in float64: from quaternions, inverses, and the check that they are rigid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrices = NDArray[np.float64]


def rotations_from_quaternions(quaternions: Matrices) -> Matrices:
    """(n, 4) quaternions as w, x, y, z, of any positive length, to (n, 3, 3) rotations."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def rigid(rotations: Matrices, translations: Matrices) -> Matrices:
    """(n, 3, 3) and (n, 3) to (n, 4, 4)."""
    out = np.zeros((len(rotations), 4, 4))
    out[:, :3, :3] = rotations
    out[:, :3, 3] = translations
    out[:, 3, 3] = 1
    return out


def invert_rigid(transforms: Matrices) -> Matrices:
    """Inverses of (n, 4, 4) rigid transforms, by transposing the rotation."""
    rotations = transforms[:, :3, :3].transpose(0, 2, 1)
    return rigid(rotations, -(rotations @ transforms[:, :3, 3:])[..., 0])


def find_not_rigid(transforms: Matrices, tolerance: float = 1e-4) -> int | None:
    """Index of the first of (n, 4, 4) transforms that is no rotation and translation; None if all are.

    Args:
        transforms: candidates.
        tolerance: on the entries of R R^T - I; calibrations are often written with five digits.
    """
    rotations = transforms[:, :3, :3]
    with np.errstate(all="ignore"):
        off = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        good = (off <= tolerance) & (np.linalg.det(rotations) > 0)
    good &= np.isfinite(transforms).all(axis=(1, 2)) & (transforms[:, 3] == [0, 0, 0, 1]).all(axis=1)
    return None if good.all() else int(np.argmin(good))
