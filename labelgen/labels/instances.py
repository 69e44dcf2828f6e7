"""Instances of one frame: regions of thing classes, linked across cameras and split in 3D."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import NO_REGION, UNLABELLED, PointLabels, RegionHits, Regions, Semantics, Views
from labelgen.labels.linking import Cloud, Trees, grow, link, nearest
from labelgen.labels.settings import InstanceSettings

#: Largest number of an instance.
MOST_INSTANCES = 65535


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

    Raises:
        ValueError: more than `MOST_INSTANCES` things.
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
    label = labels.label[rows]
    cloud = lidar_view(xyz[rows].astype(np.float64), settings)
    trees = grow(cloud, label.astype(np.int64) << 32 | (owner + 1))
    part, _ = link(cloud, trees, label, camera)
    part = _adopt(cloud, trees, part, settings)
    return _number(len(labels), rows, part, settings.min_points)


def lidar_view(xyz: NDArray[np.float64], settings: InstanceSettings) -> Cloud:
    """Points with their places in the LiDAR's view."""
    across, along = (float(reach) for reach in np.radians(settings.spacing_deg) * settings.reach)
    flat = np.hypot(xyz[:, 0], xyz[:, 1])
    turn = np.arctan2(xyz[:, 1], xyz[:, 0])
    rise = np.arctan2(xyz[:, 2], flat)
    # On a cylinder, stretched so that one radius serves both angles; it has no seam.
    view = np.column_stack([np.cos(turn), np.sin(turn), rise * across / along])
    return Cloud(view, xyz, np.linalg.norm(xyz, axis=1), across, settings.gap, settings.gap_relative)


def _adopt(
    cloud: Cloud, trees: Trees, part: NDArray[np.int32], settings: InstanceSettings
) -> NDArray[np.int32]:
    """Join fragments to the nearest larger part of the same class and region, of which each is a tree."""
    small = np.bincount(part, minlength=1)[part] < settings.fragment
    if not small.any() or small.all():
        return part
    reach = settings.fragment_gaps * (settings.gap + settings.gap_relative * cloud.away)
    found, away = nearest(cloud, trees, small, ~small, reach)
    reached = np.flatnonzero(away <= reach)
    # Of a fragment, the point that is nearest to a larger part decides.
    reached = reached[np.argsort(-away[reached], kind="stable")]
    table = np.arange(len(part), dtype=np.int32)
    table[part[reached]] = part[found[reached]]
    return table[part]


def _number(N: int, rows: NDArray[np.int64], part: NDArray[np.int32], min_points: int) -> NDArray[np.uint16]:
    out = np.zeros(N, np.uint16)
    if not len(rows):
        return out
    large = np.bincount(part) >= min_points
    if (count := int(large.sum())) > MOST_INSTANCES:
        raise ValueError(f"{count} things in one frame; the maximum is {MOST_INSTANCES}")
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
