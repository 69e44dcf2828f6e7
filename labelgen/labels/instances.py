"""Instances of one frame: regions of thing classes, linked across cameras and split in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from labelgen.records import NO_REGION, UNLABELLED, PointLabels, RegionHits, Regions, Semantics, Views


@dataclass(frozen=True)
class InstanceSettings:
    """When two points belong to one thing.

    Attributes:
        spacing_deg: horizontal and vertical angle between neighbouring beams.
        reach: beam spacings, horizontal and vertical, over which points are neighbours.
        gap: metres between neighbours from which there is an edge between them.
        gap_relative: the same as a share of the range, added to ``gap``.
        min_points: smaller things get no number.
        fragment: what has fewer points joins the nearest larger part of the same class and region,
        fragment_gaps: if it is so many gaps away at most; sides that the beams graze fall apart.
    """

    spacing_deg: tuple[float, float] = (360.0 / 1084, 41.34 / 31)
    reach: tuple[float, float] = (3.5, 2.2)
    gap: float = 0.4
    gap_relative: float = 0.02
    min_points: int = 5
    fragment: int = 20
    fragment_gaps: float = 4.0


def find_instances(
    xyz: NDArray[np.float32],
    labels: PointLabels,
    views: Views,
    hits: RegionHits,
    regions: Regions,
    semantics: Semantics,
    things: Sequence[bool],
    settings: InstanceSettings | None = None,
) -> NDArray[np.uint16]:
    """Number the things among a frame's labelled points.

    A point belongs to the largest region of its class under any of its visible views, so that the parts of a
    thing are one. Points are connected if they have the same class, are neighbours in the LiDAR's view
    without a jump in range, and lie in the same region or in regions of different cameras. What is connected
    is one instance.

    Args:
        xyz: (N, 3) float32 metres in the LiDAR frame.
        labels: N rows.
        views: of the frame.
        hits: regions under each view.
        regions: of the frame.
        semantics: of the regions.
        things: (C,) True for countable classes.
        settings: when points belong together.

    Returns:
        (N,) uint16, 1, 2, ... in the order of each instance's first point; 0 for stuff, for what is
        unlabelled, and for things of fewer than ``min_points`` points.
    """
    settings = settings or InstanceSettings()
    countable = np.zeros(256, np.bool_)
    countable[: len(things)] = things
    countable[UNLABELLED] = False
    rows = np.flatnonzero(countable[labels.label] & np.isfinite(xyz).all(axis=1))
    owner = _largest_region(
        labels.label, labels.region, views.point, views.visible, hits.offsets, hits.region,
        regions.area, semantics.label,
    )[rows]  # fmt: skip
    camera = np.where(owner >= 0, regions.camera[owner] if len(regions) else 0, -1)
    a, b = _neighbours(xyz[rows].astype(np.float64), settings)
    together = labels.label[rows][a] == labels.label[rows][b]
    together &= (owner[a] == owner[b]) | (camera[a] != camera[b])
    part = _parts(len(rows), a[together], b[together])
    key = labels.label[rows].astype(np.int64) * (len(regions) + 1) + owner + 1
    part = _adopt(xyz[rows].astype(np.float64), part, key, settings)
    return _number(len(labels), rows, part, settings.min_points)


def _neighbours(
    xyz: NDArray[np.float64], settings: InstanceSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of points next to each other in the LiDAR's view, and in range."""
    if len(xyz) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    across, along = np.radians(settings.spacing_deg) * settings.reach
    flat = np.hypot(xyz[:, 0], xyz[:, 1])
    turn = np.arctan2(xyz[:, 1], xyz[:, 0])
    rise = np.arctan2(xyz[:, 2], flat)
    # On a cylinder, stretched so that one radius serves both angles; it has no seam.
    view = np.column_stack([np.cos(turn), np.sin(turn), rise * across / along])
    pairs = cKDTree(view).query_pairs(across, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    away = np.linalg.norm(xyz, axis=1)
    limit = settings.gap + settings.gap_relative * np.minimum(away[a], away[b])
    near = np.linalg.norm(xyz[a] - xyz[b], axis=1) <= limit
    return a[near], b[near]


def _parts(n: int, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) connected component of each point."""
    if not n:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(n, n))
    part: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return part


def _adopt(
    xyz: NDArray[np.float64], part: NDArray[np.int64], key: NDArray[np.int64], settings: InstanceSettings
) -> NDArray[np.int64]:
    """Join fragments to the nearest larger part with the same key (class and region)."""
    small = np.bincount(part, minlength=1)[part] < settings.fragment
    if not small.any() or small.all():
        return part
    apart = 1e4  # metres between keys, in a fourth dimension
    place = np.column_stack([xyz, key * apart])
    limit = settings.gap + settings.gap_relative * np.linalg.norm(xyz, axis=1)
    away, nearest = cKDTree(place[~small]).query(place[small])
    reached = np.flatnonzero(away <= settings.fragment_gaps * limit[small])
    # Of a fragment, the point that is nearest to a larger part decides.
    reached = reached[np.argsort(-away[reached], kind="stable")]
    table = np.arange(int(part.max()) + 1)
    table[part[small][reached]] = part[~small][nearest[reached]]
    return table[part]


def _number(N: int, rows: NDArray[np.int64], part: NDArray[np.int64], min_points: int) -> NDArray[np.uint16]:
    out = np.zeros(N, np.uint16)
    if not len(rows):
        return out
    large = np.bincount(part) >= min_points
    names, first = np.unique(part, return_index=True)  # of each part, its first point
    order = np.argsort(first[large[names]], kind="stable")
    number = np.zeros(len(large), np.uint16)
    number[names[large[names]][order]] = np.arange(1, len(order) + 1)
    out[rows] = number[part]
    return out


@numba.njit(cache=True)
def _largest_region(
    label: NDArray[np.uint8],
    decider: NDArray[np.uint16],
    point: NDArray[np.int32],
    visible: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    under: NDArray[np.int32],
    area: NDArray[np.int32],
    meaning: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """(N,) largest region of the point's own class under its visible views; else the decider; else -1."""
    out = np.full(len(label), -1, np.int64)
    for v in range(len(point)):
        i = point[v]
        if visible[v] and label[i] != UNLABELLED:
            for h in range(offsets[v], offsets[v + 1]):
                r = under[h]
                if meaning[r] == label[i] and (out[i] < 0 or area[r] > area[out[i]]):
                    out[i] = r
    for i in range(len(label)):
        if out[i] < 0 and decider[i] != NO_REGION:
            out[i] = decider[i]
    return out
