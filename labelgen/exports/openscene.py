"""OpenScene: 3D frames as ``.pth`` and fused features per point as ``.pt``."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from labelgen.core.records import NO_REGION
from labelgen.exports.classes import class_ids
from labelgen.exports.output import Output
from labelgen.runs import Run
from labelgen.shards import StoredFrame


def write_openscene(run: Run, out: Output, split: str) -> None:
    """3D frames and fused features.

    ``nuscenes_3d/<split>/<frame>.pth``: (coordinates, 0, labels). ``nuscenes_multiview_labelgen/<frame>.pt``:
    ``feat`` (M, D) float16 and ``mask_full`` (N,) bool, M its number of True.

    A point's feature is the mean over its visible views of the features of the regions there, L2-normalised.
    The ``.pth`` holds numpy arrays, as OpenScene expects: read it with ``weights_only=False`` where torch is
    2.6 or later.

    Raises:
        UserError, FrameError: the points are neither in the run nor below the data root.
    """
    for frame in map(run.frame, run.frames):
        xyz = frame.xyz.astype(np.float64)
        labels = class_ids(frame).astype(np.float64)
        torch.save((xyz, 0, labels), out.path(f"nuscenes_3d/{split}/{frame.frame_id}.pth"))
        feature, mask = fused_features(frame)
        content = {"feat": torch.from_numpy(feature), "mask_full": torch.from_numpy(mask)}
        torch.save(content, out.path(f"nuscenes_multiview_labelgen/{frame.frame_id}.pt"))


def fused_features(stored: StoredFrame) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Features of the points that are seen in some region: (M, D) float16, and (N,) bool which they are."""
    views, region = stored.views, stored.view_region
    used = views.visible & (region != NO_REGION)
    point, rows = views.point[used], region[used].astype(np.int64)
    mask = np.zeros(stored.num_points, np.bool_)
    mask[point] = True
    place = np.cumsum(mask) - 1
    feature = stored.semantics.feature.astype(np.float32)
    total = np.zeros((int(mask.sum()), feature.shape[1]), np.float32)
    np.add.at(total, place[point], feature[rows])
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.maximum(length, 1e-12)).astype(np.float16), mask
