"""Features carried along the surfaces of a cloud: the pyramid of centres of Approximate Flat Interaction.

See `labelgen.labels.afi` for the method, `labelgen.labels.flat` for the loops over points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from labelgen.labels import flat

if TYPE_CHECKING:
    from labelgen.labels.afi import AfiSettings


class Level(NamedTuple):
    """One level of the pyramid: M points.

    Attributes:
        xyz: (M, 3) float32.
        feature: (M, C + 1) float32, shares of the classes, "unlabelled" first.
        line: (M, A, 3) float32 unit mean offset to the neighbours in each direction; 0 where there is none.
        length: (M, A) float32, of the mean offset, metres.
        weight: (M, A) float32.
    """

    xyz: NDArray[np.float32]
    feature: NDArray[np.float32]
    line: NDArray[np.float32]
    length: NDArray[np.float32]
    weight: NDArray[np.float32]


def smooth_features(
    points: NDArray[np.float32], feature: NDArray[np.float32], settings: AfiSettings
) -> NDArray[np.float32]:
    """(M, F) features as they arrive at the points (M, 3), on the CPU."""
    return _decode(_encode(points, feature, settings), settings)


def fibonacci_sphere(count: int) -> NDArray[np.float32]:
    """(count, 3) float32 unit vectors, evenly spread."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack(
        [np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1
    ).astype(np.float32)


def _encode(xyz: NDArray[np.float32], feature: NDArray[np.float32], settings: AfiSettings) -> list[Level]:
    directions = fibonacci_sphere(settings.directions)
    none = np.zeros((0, settings.directions), np.float32)
    levels = [Level(xyz, feature, np.zeros((0, settings.directions, 3), np.float32), none, none)]
    for count in settings.centres:
        below = levels[-1]
        centres = flat.farthest_points(below.xyz, min(count, len(below.xyz)))
        near = nearest(below.xyz, below.xyz[centres], settings.neighbours)
        line, length, weight, influence = flat.surroundings(
            below.xyz, below.line, below.length, below.weight, centres, near, directions,
            np.float32(settings.gamma),
        )  # fmt: skip
        pooled = flat.pool(below.feature, below.xyz, centres, near, directions, length, weight, influence)
        levels.append(Level(below.xyz[centres], pooled, line, length, weight))
    return levels


def _decode(levels: list[Level], settings: AfiSettings) -> NDArray[np.float32]:
    feature = levels[-1].feature
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        near = nearest(coarse.xyz, fine.xyz, settings.back)
        exact = len(fine.xyz) == settings.down * len(coarse.xyz)
        feature = flat.interpolate(
            fine.xyz, fine.feature, coarse.xyz, feature, coarse.line, coarse.weight, near,
            np.float32(settings.gamma), np.float32(0.3 if exact else 0.01),
        )  # fmt: skip
    return feature


def nearest(tree: NDArray[np.float32], points: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """(P, k) int32: the k = min(count, M) nearest of M tree points to each point, nearest first."""
    k = min(count, len(tree))
    rows = _few_copies(tree, k)
    found = cKDTree(tree[rows], leafsize=16, balanced_tree=False).query(points, k=range(1, k + 1), workers=2)[
        1
    ]
    out: NDArray[np.int32] = np.ascontiguousarray(rows[found], np.int32)
    return out


def _few_copies(points: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Rows of points, so many of equal ones at most: a k-d tree cannot cut between them and asks them all."""
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    bits = np.ascontiguousarray(points, np.float32).view(np.uint32).astype(np.uint64)
    order = np.argsort((bits * odd).sum(axis=1), kind="stable")  # equal points one after another
    new = np.ones(len(points), np.bool_)
    new[1:] = (points[order][1:] != points[order][:-1]).any(axis=1)
    begins = np.flatnonzero(new)
    place = np.arange(len(points)) - np.repeat(begins, np.diff(begins, append=len(points)))
    rows: NDArray[np.intp] = np.sort(order[place < most])
    return rows
