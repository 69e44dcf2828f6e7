"""Writes every image's regions as a 16-bit PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from labelgen.core.frame import Camera
from labelgen.core.records import NO_REGION, Regions
from labelgen.geometry.rle import parse
from labelgen.regions.overlap import paint


def write_label_maps(folder: Path, regions: Regions, cameras: Sequence[Camera]) -> None:
    """Write ``<camera name>.png`` per camera: row of the smallest region under every pixel, 65535 for none.

    A file is written under another name first, so that a killed run leaves no half of one.

    Args:
        folder: of the frame, in one of all frames, which are made.
        regions: of the frame; rows are those of the shard.
        cameras: of the frame.
    """
    for missing in (folder.parent, folder):  # not the run's own, should that have been removed
        missing.mkdir(exist_ok=True)
    for number, camera in enumerate(cameras):
        rows = regions.camera_slice(number)
        size = (camera.height, camera.width)
        painted = paint(parse(regions.rle[rows], *size), size)
        painted[painted != NO_REGION] += np.uint16(rows.start)
        part = folder / f".{camera.name}.{os.getpid()}.png"
        Image.fromarray(painted).save(part)
        os.replace(part, folder / f"{camera.name}.png")
