"""What a view's own evidence is worth: how sure its region is, how near an edge, how far off the axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelgen.frame import Camera
from labelgen.geometry import ProjectionSettings
from labelgen.geometry.edges import edge_share
from labelgen.labels.vote import VoteSettings, class_votes
from labelgen.records import RegionHits, Regions, Semantics, Views


def hit_evidence(
    views: Views,
    hits: RegionHits,
    regions: Regions,
    semantics: Semantics,
    cameras: Sequence[Camera],
    settings: VoteSettings,
    projection: ProjectionSettings,
) -> NDArray[np.float64] | None:
    """The share of each hit's vote that counts: a product of up to four factors 1 - a (1 - x).

    a is the setting's strength; x is, by factor: ``class_margin``, the region's lead of its best class (or
    void) over the second; ``edge``, how much mask there is within ``edge_px`` (`edge_share`); ``residual``,
    1 - residual / tolerance of the depth test; ``angle``, the cosine between the view's ray and the camera's
    axis (lens distortion left aside).

    Args:
        views: of the frame.
        hits: regions under each view.
        regions: of the frame.
        semantics: of the regions.
        cameras: of the frame.
        settings: strengths; factors of strength 0 are not computed.
        projection: the depth test's tolerance.

    Returns:
        (H,) float64 in 0..1, or None if all strengths are 0.

    Raises:
        ValueError: if a run-length code is damaged.
    """
    strengths = (settings.class_margin, settings.edge, settings.residual, settings.angle)
    if not any(strengths):
        return None
    out = np.ones(len(hits.region))
    if settings.class_margin:
        out *= _less(settings.class_margin, class_margins(semantics)[hits.region])
    if settings.edge:
        out *= _less(settings.edge, edge_share(views, hits, regions, cameras, settings.edge_px))
    of_view = np.ones(len(views))
    if settings.residual:
        limit = np.maximum(projection.max_residual, projection.max_residual_relative * views.depth)
        of_view *= _less(settings.residual, 1 - np.clip(views.depth_residual / limit, 0, 1))
    if settings.angle:
        of_view *= _less(settings.angle, axis_cosines(views, cameras))
    return out * np.repeat(of_view, np.diff(hits.offsets))


def class_margins(semantics: Semantics) -> NDArray[np.float64]:
    """(K,) lead of the best class or void over the second, as a share of all."""
    votes = class_votes(semantics)
    if not votes.size:
        return np.zeros(len(votes))
    if votes.shape[1] < 2:
        return np.ones(len(votes))
    top = np.partition(votes, -2, axis=1)[:, -2:]
    return (top[:, 1] - top[:, 0]) / np.maximum(votes.sum(axis=1), 1e-9)


def axis_cosines(views: Views, cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """(V,) cosine of the angle between each view's ray and its camera's axis."""
    out = np.ones(len(views))
    for c, camera in enumerate(cameras):
        rows = views.camera_slice(c)
        K = camera.intrinsics
        y = (views.uv[rows, 1] - K[1, 2]) / K[1, 1]
        x = (views.uv[rows, 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
        out[rows] = 1 / np.sqrt(1 + x * x + y * y)
    return out


def _less(strength: float, share: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
    factor: NDArray[np.float64] = 1 - strength * (1 - share.astype(np.float64))
    return np.clip(factor, 0.0, 1.0)
