"""The kernels of Approximate Flat Interaction: sampling, directions, pooling, interpolation."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

_BLOCK = 64


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def farthest_points(xyz: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Farthest-point sampling from row 0 on; of equally far points the lowest row is next."""
    N = len(xyz)
    x, y, z = xyz[:, 0].copy(), xyz[:, 1].copy(), xyz[:, 2].copy()
    blocks = (N + _BLOCK - 1) // _BLOCK
    away = np.full(blocks * _BLOCK, np.float32(-1))
    away[:N] = np.inf
    farthest = np.empty(blocks, np.float32)
    out = np.zeros(count, np.int32)
    last = 0
    for k in range(1, count):
        px, py, pz = x[last], y[last], z[last]
        for i in range(N):
            dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
            away[i] = min(away[i], dx * dx + dy * dy + dz * dz)
        for b in range(blocks):
            most = np.float32(-1)
            for i in range(b * _BLOCK, (b + 1) * _BLOCK):
                most = max(most, away[i])
            farthest[b] = most
        block = 0
        for b in range(blocks):
            if farthest[b] > farthest[block]:
                block = b
        for i in range(block * _BLOCK, (block + 1) * _BLOCK):
            if away[i] == farthest[block]:
                last = i
                break
        out[k] = last
    return out


@numba.njit(cache=True, error_model="numpy")
def surroundings(
    xyz: NDArray[np.float32],
    below_line: NDArray[np.float32],
    below_length: NDArray[np.float32],
    below_weight: NDArray[np.float32],
    centres: NDArray[np.int32],
    near: NDArray[np.int32],
    directions: NDArray[np.float32],
    gamma: np.float32,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean offset and weight in each direction around each centre.

    Args:
        xyz: (M, 3) of the level below.
        below_line: (M, A, 3) of the level below, or (0, A, 3) if that is the cloud itself.
        below_length: (M, A) likewise.
        below_weight: (M, A) likewise.
        centres: (P,) rows.
        near: (P, k) rows.
        directions: (A, 3) unit vectors.
        gamma: cosine from which two directions are one line.

    Returns:
        Unit mean offsets (P, A, 3), their lengths (P, A), weights (P, A), influence (P,), whose mean is 1.
    """
    P, k = near.shape
    A = len(directions)
    line = np.zeros((P, A, 3), np.float32)
    length = np.zeros((P, A), np.float32)
    weight = np.zeros((P, A), np.float32)
    influence = np.ones(P, np.float32)
    first = len(below_line) == 0
    for p in range(P):
        c = centres[p]
        count = np.zeros(A, np.float32)
        total = np.float32(0)
        for j in range(k):
            m = near[p, j]
            away, ux, uy, uz, a = _direction(xyz, c, m, directions)
            if away == 0:
                continue
            count[a] += 1
            line[p, a, 0] += ux * away
            line[p, a, 1] += uy * away
            line[p, a, 2] += uz * away
            h = np.float32(1)
            if not first:
                h = _on_one_line(below_line, below_length, below_weight, c, m, ux, uy, uz, away, gamma)
            weight[p, a] += h
            total += h
        for a in range(A):
            if count[a] > 0:
                for axis in range(3):
                    line[p, a, axis] /= count[a]
                length[p, a] = np.sqrt(line[p, a, 0] ** 2 + line[p, a, 1] ** 2 + line[p, a, 2] ** 2)
                if length[p, a] > 0:
                    for axis in range(3):
                        line[p, a, axis] /= length[p, a]
            if total > 0:
                weight[p, a] /= total
        if not first:
            influence[p] = total
    if not first:
        mean = influence.mean()
        if mean > 0:
            influence /= mean
    return line, length, weight, influence


@numba.njit(cache=True, error_model="numpy")
def _direction(
    xyz: NDArray[np.float32], c: int, m: int, directions: NDArray[np.float32]
) -> tuple[np.float32, np.float32, np.float32, np.float32, int]:
    """Distance, unit offset and bin of point m seen from c."""
    dx, dy, dz = xyz[m, 0] - xyz[c, 0], xyz[m, 1] - xyz[c, 1], xyz[m, 2] - xyz[c, 2]
    away = np.sqrt(dx * dx + dy * dy + dz * dz)
    if away == 0:
        return away, dx, dy, dz, 0
    ux, uy, uz = dx / away, dy / away, dz / away
    best, most = 0, np.float32(-2)
    for a in range(len(directions)):
        cosine = ux * directions[a, 0] + uy * directions[a, 1] + uz * directions[a, 2]
        if cosine > most:
            best, most = a, cosine
    return away, ux, uy, uz, best


@numba.njit(cache=True, error_model="numpy")
def _on_one_line(
    line: NDArray[np.float32],
    length: NDArray[np.float32],
    weight: NDArray[np.float32],
    c: int,
    m: int,
    ux: np.float32,
    uy: np.float32,
    uz: np.float32,
    away: np.float32,
    gamma: np.float32,
) -> np.float32:
    """How far both points' surroundings extend along the line between them, times how well they cover it."""
    sums = np.zeros(2, np.float32)
    ahead, behind = np.zeros(2, np.float32), np.zeros(2, np.float32)
    for side in range(2):
        point = c if side == 0 else m
        for a in range(line.shape[1]):
            cosine = ux * line[point, a, 0] + uy * line[point, a, 1] + uz * line[point, a, 2]
            if abs(cosine) > gamma:
                sums[side] += weight[point, a]
                if cosine > 0:
                    ahead[side] = max(ahead[side], length[point, a])
                else:
                    behind[side] = max(behind[side], length[point, a])
    covered = ahead[0] + behind[0] + ahead[1] + behind[1]
    return sums[0] * sums[1] * covered / (away + behind[0] + ahead[1])


@numba.njit(cache=True, error_model="numpy")
def pool(
    feature: NDArray[np.float32],
    xyz: NDArray[np.float32],
    centres: NDArray[np.int32],
    near: NDArray[np.int32],
    directions: NDArray[np.float32],
    length: NDArray[np.float32],
    weight: NDArray[np.float32],
    influence: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(P, F) features of centres: those of each direction, nearer and heavier directions first.

    f = normalise(I sum_a omega_a g_a + 0.1 f_c + 1e-8 max_k f_k), omega = normalise(w / |v|), g_a the
    normalised sum of the features in direction a.
    """
    P, k = near.shape
    A, F = len(directions), feature.shape[1]
    out = np.zeros((P, F), np.float32)
    within = np.zeros((A, F), np.float32)
    for p in range(P):
        within[:] = 0
        omega = np.zeros(A, np.float32)
        for j in range(k):
            m = near[p, j]
            a = _direction(xyz, centres[p], m, directions)[4]
            for f in range(F):
                within[a, f] += feature[m, f]
                out[p, f] = max(out[p, f], np.float32(1e-8) * feature[m, f])
        total = np.float32(0)
        for a in range(A):
            if length[p, a] > 0:
                omega[a] = weight[p, a] / length[p, a]
            total += omega[a]
        for a in range(A):
            mass = within[a].sum()
            if total > 0 and mass > 0 and omega[a] > 0:
                for f in range(F):
                    out[p, f] += influence[p] * omega[a] / total * within[a, f] / mass
        for f in range(F):
            out[p, f] += np.float32(0.1) * feature[centres[p], f]
        _normalise(out[p])
    return out


@numba.njit(cache=True, error_model="numpy")
def interpolate(
    fine_xyz: NDArray[np.float32],
    fine: NDArray[np.float32],
    coarse_xyz: NDArray[np.float32],
    coarse: NDArray[np.float32],
    line: NDArray[np.float32],
    weight: NDArray[np.float32],
    near: NDArray[np.int32],
    gamma: np.float32,
    own: np.float32,
) -> NDArray[np.float32]:
    """(n, F) features of fine points from the coarse ones that extend towards them, and their own.

    f = normalise(W interp + (1e-8 + own mean(W)) f_fine); a coarse point's part is the sum of its weights in
    the directions of the fine point, W the sum of the parts.
    """
    n, k = near.shape
    F = fine.shape[1]
    part = np.zeros((n, k), np.float32)
    total = np.zeros(n, np.float32)
    for i in range(n):
        for j in range(k):
            m = near[i, j]
            dx, dy = coarse_xyz[m, 0] - fine_xyz[i, 0], coarse_xyz[m, 1] - fine_xyz[i, 1]
            dz = coarse_xyz[m, 2] - fine_xyz[i, 2]
            away = np.sqrt(dx * dx + dy * dy + dz * dz)
            if away > 0:
                for a in range(line.shape[1]):
                    cosine = dx * line[m, a, 0] + dy * line[m, a, 1] + dz * line[m, a, 2]
                    if abs(cosine) > gamma * away:
                        part[i, j] += weight[m, a]
            total[i] += part[i, j]
    keep = np.float32(1e-8) + own * total.mean()
    out = np.zeros((n, F), np.float32)
    for i in range(n):
        mass = np.float32(0)
        for j in range(k):
            part[i, j] = (part[i, j] / total[i] if total[i] > 0 else np.float32(0)) + np.float32(1e-6)
            mass += part[i, j]
        for j in range(k):
            share = total[i] * part[i, j] / mass
            for f in range(F):
                out[i, f] += share * coarse[near[i, j], f]
        for f in range(F):
            out[i, f] += keep * fine[i, f]
        _normalise(out[i])
    return out


@numba.njit(cache=True, error_model="numpy")
def _normalise(values: NDArray[np.float32]) -> None:
    """Divide by the sum, unless that is 0."""
    total = values.sum()
    if total > 0:
        values /= total
