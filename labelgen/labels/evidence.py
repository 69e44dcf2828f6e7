"""What a view's own evidence is worth: how sure its region is, how near an edge, how far off the axis."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.core.records import RegionHits, Semantics, Views
from labelgen.geometry import ProjectionSettings
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import class_votes


def hit_evidence(
    views: Views,
    hits: RegionHits,
    semantics: Semantics,
    cameras: Sequence[Camera],
    settings: VoteSettings,
    projection: ProjectionSettings,
) -> NDArray[np.float64] | None:
    """The share of each hit's vote that counts: a product of up to four factors 1 - a (1 - x).

    a is the setting's strength; x is, by factor: ``class_margin``, the region's lead of its best class (or
    void) over the second; ``edge``, how much of the region there is around the pixel (``hits.inside``);
    ``residual``, 1 - residual / tolerance of the depth test; ``angle``, the cosine between the view's ray and
    the camera's axis (lens distortion left aside).

    Metres count as the float16 and pixels as the whole ones that a shard keeps, so that a vote on what is
    stored is the vote that was stored.

    Args:
        views: of the frame.
        hits: regions under each view; with ``inside`` where ``edge`` is asked for.
        semantics: of the regions.
        cameras: of the frame.
        settings: strengths; factors of strength 0 are not computed.
        projection: the depth test's tolerance.

    Returns:
        (H,) float64 in 0..1, or None if all strengths are 0.

    Raises:
        ValueError: ``edge`` is asked for, and the hits do not know what is around them; or a view names a
            camera that is not there.
    """
    if not any((settings.class_margin, settings.edge, settings.residual, settings.angle)):
        return None
    inside = hits.inside
    if inside is None or not settings.edge:
        if settings.edge:
            raise ValueError("hits without `inside`: look them up with a reach")
        inside = np.zeros(0, np.float32)
    if len(views) and int(views.camera.max()) >= len(cameras):
        raise ValueError(f"camera {views.camera.max()} is out of range: the frame has {len(cameras)} cameras")
    of_region = np.ones(len(semantics))
    if settings.class_margin:
        of_region = 1 - settings.class_margin * (1 - class_margins(semantics))
    of_view = _of_views(
        np.floor(views.uv.astype(np.float64) + 0.5),
        views.camera,
        as_stored(views.depth),
        as_stored(views.depth_residual),
        np.array([camera.intrinsics for camera in cameras], np.float64).reshape(-1, 3, 3),
        float(settings.residual),
        float(settings.angle),
        (float(projection.max_residual), float(projection.max_residual_relative)),
    )
    return _product(hits.offsets, hits.region, of_view, of_region, inside, settings.edge)


@numba.njit(cache=True)
def as_stored(metres: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V,) metres, no NaN, as `labelgen.core.precision.half_metres` keeps them, in a fifth of its time."""
    out = np.empty(len(metres), np.float32)
    bits = out.view(np.uint32)
    for v in range(len(metres)):
        # max and min of float16; half a step above its last number would round to infinity.
        x = min(max(metres[v], np.float32(-65504.0)), np.float32(65504.0))
        if abs(x) < np.float32(2.0**-14):  # its smallest numbers have a step of 2^-24, whatever their size
            out[v] = np.rint(x * np.float32(2.0**24)) * np.float32(2.0**-24)
        else:  # 10 bits of the mantissa's 23, to the nearest, ties to even
            out[v] = x
            odd = (bits[v] >> np.uint32(13)) & np.uint32(1)
            bits[v] = (bits[v] + np.uint32(0xFFF) + odd) & np.uint32(0xFFFFE000)
    return out


@numba.njit(cache=True)
def _product(
    offsets: NDArray[np.int64],
    under: NDArray[np.int32],
    of_view: NDArray[np.float64],
    of_region: NDArray[np.float64],
    inside: NDArray[np.float32],
    edge: float,
) -> NDArray[np.float64]:
    out = np.empty(len(under))
    for v in range(len(offsets) - 1):
        for h in range(offsets[v], offsets[v + 1]):
            out[h] = of_view[v] * of_region[under[h]]
            if len(inside):
                out[h] *= 1.0 - edge * (1.0 - inside[h])
    return out


def class_margins(semantics: Semantics) -> NDArray[np.float64]:
    """(K,) lead of the best class or void over the second, as a share of all."""
    votes = class_votes(semantics)
    margins: NDArray[np.float64] = _leads(votes) if votes.shape[1] > 1 else np.ones(len(votes))
    return margins


@numba.njit(cache=True)
def _leads(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty(len(votes))
    for r in range(len(votes)):
        first = second = total = 0.0
        for c in range(votes.shape[1]):
            second = max(second, min(first, votes[r, c]))
            first = max(first, votes[r, c])
            total += votes[r, c]
        out[r] = (first - second) / max(total, 1e-9)
    return out


@numba.njit(cache=True, error_model="numpy")
def _of_views(
    pixel: NDArray[np.float64],
    camera: NDArray[np.uint8],
    depth: NDArray[np.float32],
    residual: NDArray[np.float32],
    intrinsics: NDArray[np.float64],
    by_residual: float,
    by_angle: float,
    tolerance: tuple[float, float],
) -> NDArray[np.float64]:
    """(V,) the factors of the depth test and of the angle off the camera's axis."""
    absolute, relative = tolerance
    out = np.ones(len(pixel))
    for v in range(len(pixel)):
        if by_residual:
            limit = max(absolute, relative * depth[v], 1e-9)
            out[v] -= by_residual * min(max(residual[v] / limit, 0.0), 1.0)
        if by_angle:
            K = intrinsics[camera[v]]
            y = (pixel[v, 1] - K[1, 2]) / K[1, 1]
            x = (pixel[v, 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
            out[v] *= 1.0 - by_angle * (1.0 - 1.0 / np.sqrt(1.0 + x * x + y * y))
    return out
