"""A feature for every point: its regions' features, or dense maps at its pixels, averaged over its views."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import NO_REGION, DenseFeatures, Views

#: What a point's feature is made of.
FeatureSource = Literal["regions", "dense"]


def from_regions(
    num_points: int, views: Views, view_region: NDArray[np.uint16], feature: NDArray[np.float16]
) -> NDArray[np.float16]:
    """Features of points from those of their regions.

    f_i = normalise( sum over the visible views v of point i that lie in a region of f_region(v) ), where
    region(v) is the smallest region at the view's pixel.

    Args:
        num_points: N.
        views: V rows.
        view_region: (V,) the smallest region at each view's pixel, 65535 for none.
        feature: (K, D) of the regions.

    Returns:
        (N, D) float16, L2-normalised; 0 for a point without such a view.
    """
    rows = np.flatnonzero(views.visible & (view_region != NO_REGION))
    return _averaged(
        num_points,
        views.point[rows],
        view_region[rows].astype(np.int64),
        np.ones(len(rows), np.float32),
        feature.astype(np.float32),
    )


def from_dense(num_points: int, views: Views, dense: DenseFeatures) -> NDArray[np.float16]:
    """Features of points from dense maps, sampled at their pixels.

    f_i = normalise( sum over the visible views v of point i of sum_c b_c(uv_v) f_c ), where b are the
    bilinear weights of the four cells c of the view's image whose centres lie around its pixel; at the
    image's border, of the outermost.

    Args:
        num_points: N.
        views: V rows.
        dense: of the frame.

    Returns:
        (N, D) float16, L2-normalised; 0 for a point without a visible view in an image with features.
    """
    A, h, w, D = dense.values.shape
    rows = np.flatnonzero(views.visible & (views.camera < A))
    camera = views.camera[rows].astype(np.int64)
    size = dense.size[camera].astype(np.float64)
    at = (views.uv[rows].astype(np.float64) + 0.5) / np.maximum(size, 1) * (w, h) - 0.5
    at = np.clip(at, 0, (w - 1, h - 1))
    first = np.floor(at).astype(np.int64)
    share = at - first
    second = np.minimum(first + 1, (w - 1, h - 1))
    cells, weights = [], []
    for x, across in ((first[:, 0], 1 - share[:, 0]), (second[:, 0], share[:, 0])):
        for y, down in ((first[:, 1], 1 - share[:, 1]), (second[:, 1], share[:, 1])):
            cells.append((camera * h + y) * w + x)
            weights.append((across * down).astype(np.float32))
    points = np.tile(views.point[rows], 4)
    table = dense.decode().reshape(A * h * w, D)
    return _averaged(num_points, points, np.concatenate(cells), np.concatenate(weights), table)


def _averaged(
    num_points: int,
    points: NDArray[np.int32],
    columns: NDArray[np.int64],
    weights: NDArray[np.float32],
    table: NDArray[np.float32],
) -> NDArray[np.float16]:
    from scipy import sparse  # not for those who read labels alone

    matrix = sparse.csr_matrix((weights, (points, columns)), shape=(num_points, len(table)), dtype=np.float32)
    mean = matrix @ table
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    out: NDArray[np.float16] = (mean / np.maximum(length, 1e-12)).astype(np.float16)
    return out


def check_source(source: str) -> None:
    """Refuse a source that does not exist.

    Raises:
        UserError: naming those that do.
    """
    if source not in ("regions", "dense"):
        raise UserError(f"point features from {source!r}? There are regions and dense")
