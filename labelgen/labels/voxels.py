"""A sparse map of the world: evidence for classes in voxels, with decay, free space and a bound on memory."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

_BITS = 21
_HALF = 1 << (_BITS - 1)
_SMALLEST_SCALE = 1e-6


class VoxelMap:
    """Dirichlet counts for C classes and void in the voxels that were seen.

    Keys are kept sorted, so that lookups are bisections; counts lie in rows that are reused. Decay is one
    scale for all counts, so that it costs nothing per voxel.

    Args:
        size: of a voxel, metres.
        channels: C + 1.
        most: voxels that are kept at most; beyond, those farthest from the vehicle are forgotten.
    """

    def __init__(self, size: float, channels: int, most: int) -> None:
        self.size, self.channels, self.most = size, channels, most
        self._keys = np.zeros(0, np.int64)
        self._rows = np.zeros(0, np.int32)
        self._counts = np.zeros((0, channels), np.float32)
        self._free = np.zeros(0, np.int32)
        self._scale = 1.0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """Memory of the map."""
        return self._keys.nbytes + self._rows.nbytes + self._counts.nbytes + self._free.nbytes

    def keys(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) int64 voxel of each of (n, 3) points in the map's frame, -1 for what it cannot hold."""
        cell = np.floor(points / self.size)
        held = np.abs(cell).max(axis=1, initial=0) < _HALF - 2  # False for NaN
        whole = np.where(held[:, None], cell, 0).astype(np.int64) + _HALF
        packed = whole[:, 0] << 2 * _BITS | whole[:, 1] << _BITS | whole[:, 2]
        return np.where(held, packed, np.int64(-1))

    def add(self, points: NDArray[np.float64], evidence: NDArray[np.float32]) -> None:
        """Bayesian update: one frame's evidence is added to the counts.

        A voxel gets the mean of the frame's points in it: they are one look at one place.

        Args:
            points: (n, 3) float64 metres in the map's frame.
            evidence: (n, C + 1) float32, not negative; points without any change nothing.
        """
        keys = self.keys(points)
        said = (keys >= 0) & (evidence.sum(axis=1) > 0)
        if not said.any():
            return
        order = np.argsort(keys[said], kind="stable")
        sorted_keys, values = keys[said][order], evidence[said][order]
        found, begins, count = np.unique(sorted_keys, return_index=True, return_counts=True)
        mean = np.add.reduceat(values, begins, axis=0) / count[:, None].astype(np.float32)
        mean /= np.float32(self._scale)
        at: NDArray[np.int64] = np.asarray(np.searchsorted(self._keys, found), np.int64)
        there: NDArray[np.bool_] = at < len(self._keys)
        there[there] = self._keys[at[there]] == found[there]
        self._counts[self._rows[at[there]]] += mean[there]
        self._insert(found[~there], at[~there], mean[~there])

    def read(self, points: NDArray[np.float64], around: bool) -> NDArray[np.float32]:
        """Counts at points.

        Args:
            points: (n, 3) float64 metres in the map's frame.
            around: where a point's own voxel holds nothing, sum the 26 next to it.

        Returns:
            (n, C + 1) float32.
        """
        keys = self.keys(points)
        out = self._at(keys)
        if around:
            nothing = np.flatnonzero((out.sum(axis=1) == 0) & (keys >= 0))
            for dx in (-1, 0, 1):
                for dy in (-1, 0, 1):
                    for dz in (-1, 0, 1):
                        step = (dx << 2 * _BITS) + (dy << _BITS) + dz
                        out[nothing] += self._at(keys[nothing] + step)
        return out

    def decay(self, factor: float) -> None:
        """Multiply all counts by ``factor`` in 0..1."""
        self._scale *= factor
        if self._scale < _SMALLEST_SCALE:
            self._counts *= np.float32(self._scale)
            self._scale = 1.0

    def forget(self, centre: NDArray[np.float64], reach: float) -> None:
        """Drop voxels farther than ``reach`` metres from ``centre``, and the farthest beyond `most`."""
        if not len(self._keys):
            return
        away = np.linalg.norm(self.centres() - centre, axis=1)
        keep = away <= reach
        if keep.sum() > self.most:
            keep = np.zeros(len(away), np.bool_)
            keep[np.argsort(away, kind="stable")[: self.most]] = True
        self._drop(~keep)

    def clear(
        self,
        lidar_from_map: NDArray[np.float64],
        xyz: NDArray[np.float32],
        bins_deg: tuple[float, float],
        reach: float,
        margin: float,
    ) -> int:
        """Drop voxels that a sweep sees through: what was there has moved away.

        A voxel is seen through if there is a return in its direction (a bin of the sphere), and all returns
        in that bin and those next to it are farther than the voxel by ``margin`` and 2 % of the range.

        Args:
            lidar_from_map: (4, 4).
            xyz: (N, 3) float32 metres, the sweep in the LiDAR frame.
            bins_deg: width and height of the bins, at least one and a half beam spacings.
            reach: metres from the LiDAR within which voxels are tested.
            margin: metres.

        Returns:
            How many voxels were dropped.
        """
        if not len(self._keys):
            return 0
        nearest = _nearest_returns(np.ascontiguousarray(xyz[np.isfinite(xyz).all(axis=1)]), bins_deg)
        rotation, shift = lidar_from_map[:3, :3], lidar_from_map[:3, 3]
        centres = self.centres()
        near = np.flatnonzero(((centres + rotation.T @ shift) ** 2).sum(axis=1) <= reach * reach)
        through = np.zeros(len(centres), np.bool_)
        local = centres[near] @ rotation.T + shift
        through[near] = _seen_through(local, nearest, bins_deg, margin)
        self._drop(through)
        return int(through.sum())

    def centres(self) -> NDArray[np.float64]:
        """(M, 3) float64 middles of the voxels, metres in the map's frame."""
        mask = (1 << _BITS) - 1
        cells = np.column_stack(
            [self._keys >> 2 * _BITS, self._keys >> _BITS & mask, self._keys & mask]
        ).astype(np.float64)
        return (cells - _HALF + 0.5) * self.size

    def _at(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        out = np.zeros((len(keys), self.channels), np.float32)
        at = np.searchsorted(self._keys, keys)
        there = at < len(self._keys)
        there[there] = self._keys[at[there]] == keys[there]
        out[there] = self._counts[self._rows[at[there]]] * np.float32(self._scale)
        return out

    def _insert(self, keys: NDArray[np.int64], at: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        if len(self._free) < len(keys):
            used = len(self._counts)
            grown = max(2 * used, used + len(keys), 4096)
            counts = np.zeros((grown, self.channels), np.float32)
            counts[:used] = self._counts
            self._counts = counts
            self._free = np.concatenate([np.arange(grown - 1, used - 1, -1, np.int32), self._free])
        rows = self._free[len(self._free) - len(keys) :]
        self._free = self._free[: len(self._free) - len(keys)]
        self._counts[rows] = values
        self._keys = np.insert(self._keys, at, keys)
        self._rows = np.insert(self._rows, at, rows)

    def _drop(self, gone: NDArray[np.bool_]) -> None:
        if gone.any():
            self._free = np.concatenate([self._free, self._rows[gone]])
            self._keys, self._rows = self._keys[~gone], self._rows[~gone]


@numba.njit(cache=True, error_model="numpy")
def _bin(x: float, y: float, z: float, width: float, height: float) -> tuple[float, int, int]:
    """Range and bin (column, row) of a direction."""
    flat = np.sqrt(x * x + y * y)
    column = int((np.degrees(np.arctan2(y, x)) + 180.0) / width)
    row = int((np.degrees(np.arctan2(z, flat)) + 90.0) / height)
    return np.sqrt(flat * flat + z * z), column, row


@numba.njit(cache=True, error_model="numpy")
def _nearest_returns(xyz: NDArray[np.float32], bins_deg: tuple[float, float]) -> NDArray[np.float32]:
    """(columns, rows) range of the nearest return in each bin, infinite where there is none."""
    columns, rows = int(360.0 / bins_deg[0]) + 1, int(180.0 / bins_deg[1]) + 1
    out = np.full((columns, rows), np.float32(np.inf))
    for i in range(len(xyz)):
        away, c, r = _bin(xyz[i, 0], xyz[i, 1], xyz[i, 2], bins_deg[0], bins_deg[1])
        out[c, r] = min(out[c, r], away)
    return out


@numba.njit(cache=True, error_model="numpy")
def _seen_through(
    local: NDArray[np.float64],
    nearest: NDArray[np.float32],
    bins_deg: tuple[float, float],
    margin: float,
) -> NDArray[np.bool_]:
    columns, rows = nearest.shape
    out = np.zeros(len(local), np.bool_)
    for i in range(len(local)):
        away, c, r = _bin(local[i, 0], local[i, 1], local[i, 2], bins_deg[0], bins_deg[1])
        if np.isinf(nearest[c, r]):
            continue
        closest = np.inf
        for dc in range(-1, 2):
            for dr in range(-1, 2):
                if 0 <= r + dr < rows:
                    closest = min(closest, nearest[(c + dc) % columns, r + dr])
        out[i] = closest > away * 1.02 + margin
    return out
