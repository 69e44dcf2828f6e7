"""Joins the regions of a frame's images into one record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelgen.records import Regions
from labelgen.regions.base import ImageRegions


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
    return Regions(
        camera=np.concatenate([np.full(len(regions), camera, np.uint8) for camera, regions in present]),
        box_xyxy=np.concatenate([regions.box_xyxy for _, regions in present]),
        area=np.concatenate([regions.area for _, regions in present]),
        score=np.concatenate([regions.score for _, regions in present]),
        stability=np.concatenate([regions.stability for _, regions in present]),
        rle=tuple(code for _, regions in present for code in regions.rle),
    )
