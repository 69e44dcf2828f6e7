"""Joins the regions of a frame's images into one record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import Regions, Views
from labelgen.regions.base import ImageRegions, Prompts


def join_cameras(images: Sequence[ImageRegions | None]) -> Regions:
    """Regions of all cameras of a frame, in the order of the cameras.

    Args:
        images: one entry per camera; None (a missing or unreadable image) has no regions.

    Raises:
        ValueError: more regions than a frame can number (65,534).
    """
    present = [(camera, regions) for camera, regions in enumerate(images) if regions is not None]
    if not present:
        return Regions.empty()
    before = np.cumsum([0, *(len(regions) for _, regions in present)])
    return Regions(
        camera=np.concatenate([np.full(len(regions), camera, np.uint8) for camera, regions in present]),
        box_xyxy=np.concatenate([regions.box_xyxy for _, regions in present]),
        area=np.concatenate([regions.area for _, regions in present]),
        score=np.concatenate([regions.score for _, regions in present]),
        stability=np.concatenate([regions.stability for _, regions in present]),
        rle=tuple(code for _, regions in present for code in regions.rle),
        parent=np.concatenate(
            [_parents(regions, int(begin)) for (_, regions), begin in zip(present, before, strict=False)]
        ),
    )


def _parents(regions: ImageRegions, begin: int) -> NDArray[np.int32]:
    if regions.parent is None:
        return np.full(len(regions), -1, np.int32)
    return np.where(regions.parent < 0, -1, regions.parent + begin).astype(np.int32)


def frame_prompts(views: Views, image_paths: Sequence[str]) -> list[Prompts]:
    """What a frame knows of its images: the points in each, and which of them the camera sees.

    Args:
        views: of the frame.
        image_paths: per camera.
    """
    prompts = []
    for camera, path in enumerate(image_paths):
        rows = views.camera_slice(camera)
        seen = views.visible[rows]
        uv = views.uv[rows]
        prompts.append(Prompts(uv[seen], views.depth[rows][seen], image_path=path, projected=uv))
    return prompts
