"""Truth in the place of a stage: what a run would reach with the right masks, classes or visibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED, Regions, Semantics, Views
from labelgen.geometry.rle import label_counts
from labelgen.regions.base import ImageRegions, regions_of_labels
from labelgen.regions.frame import join_cameras


def true_regions(objects: Sequence[NDArray[np.integer[Any]] | None]) -> Regions:
    """One region for every object in every camera's picture.

    Args:
        objects: per camera (H, W) object of every pixel; None for a camera without truth.

    Returns:
        K regions with score and stability 1, ordered by camera and object.
    """
    images: list[ImageRegions | None] = []
    for picture in objects:
        if picture is None:
            images.append(None)
        else:
            present, numbers = np.unique(picture, return_inverse=True)
            images.append(regions_of_labels(numbers.reshape(picture.shape), len(present)))
    return join_cameras(images)


def true_semantics(
    regions: Regions, classes: Sequence[NDArray[np.integer[Any]] | None], num_classes: int
) -> Semantics:
    """For every region the class that most of its pixels hold; none where most hold no class.

    Args:
        regions: K of them.
        classes: per camera (H, W) class of every pixel; ids outside 0..num_classes - 1 are no class.
        num_classes: C.

    Returns:
        Scores of 1 for the one class, features of width 1.
    """
    scores = np.zeros((len(regions), num_classes), np.float16)
    label = np.full(len(regions), UNLABELLED, np.uint8)
    for camera in np.unique(regions.camera):
        picture, rows = classes[camera], regions.camera_slice(int(camera))
        if picture is None:
            raise ValueError(f"regions lie in camera {camera}, which has no truth")
        counts = label_counts(regions.rle[rows], picture, num_classes)
        best = counts.argmax(axis=1)
        most = counts.max(axis=1) > regions.area[rows] - counts.sum(axis=1)
        label[rows] = np.where(most, best, UNLABELLED)
    known = np.flatnonzero(label != UNLABELLED)
    scores[known, label[known]] = 1
    return Semantics(class_scores=scores, label=label, feature=np.ones((len(regions), 1), np.float16))


def with_true_visibility(views: Views, seen: NDArray[np.bool_]) -> Views:
    """The views with the truth about which are not hidden.

    Args:
        views: V rows.
        seen: (N, cameras) bool.
    """
    return replace(views, visible=seen[views.point, views.camera])
