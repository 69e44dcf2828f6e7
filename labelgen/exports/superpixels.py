"""Superpixels as 8-bit PNG, one per image: SLidR, Seal, SuperFlow, LiMoE.

Ids count from 0 without gaps, and one id of its own is the background: Seal's own files share id 0 between
the background and the largest mask. Ids that the trainer's ``superpixel_size`` has no room for are refused
or merged, never wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from labelgen.core.errors import UserError
from labelgen.core.frame import Camera
from labelgen.core.records import UNLABELLED, Regions
from labelgen.exports.output import Output
from labelgen.exports.tables import image_names
from labelgen.geometry.rle import decode
from labelgen.runs import Run, RunFrame


@dataclass(frozen=True)
class Profile:
    """What one trainer expects.

    Attributes:
        pattern: of the files' names; ``{}`` stands for the image's token.
        size: its ``superpixel_size``: ids are below it.
        classes: ids are classes, not regions.
    """

    pattern: str
    size: int = 150
    classes: bool = False


PROFILES = {
    "slidr": Profile("superpixels/nuscenes/superpixels_labelgen/{}.png"),
    "seal": Profile("superpixels/nuscenes/superpixels_sam/{}.png"),
    "superflow": Profile("superpixels/{}.png", size=17, classes=True),
    "limoe": Profile("superpixels/{}.png"),
}


def write_superpixels(run: Run, out: Output, profile: Profile) -> None:
    """One PNG for every image.

    Raises:
        UserError: more classes than ids, an image without a token, or a damaged mask.
    """
    if profile.classes and len(run.taxonomy) >= profile.size:
        raise UserError(
            f"taxonomy {run.taxonomy.name} has {len(run.taxonomy)} classes; this format has room for "
            f"{profile.size - 1}"
        )
    names = image_names(run)
    for frame in map(run.frame, run.frames):
        for name, rows, painted in image_regions(frame, names):
            if profile.classes:
                label = np.append(frame.semantics.label[rows], UNLABELLED)
                ids = np.where(label == UNLABELLED, profile.size - 1, label).astype(np.uint8)[painted]
            else:
                ids = number_compactly(painted, profile.size)
            out.png(profile.pattern.format(name), ids)


def paint(regions: Regions, number: int, camera: Camera, frame_id: str) -> NDArray[np.int32]:
    """(H, W) int32: the region of the camera at each pixel, counted within the camera; -1 for none.

    Large regions are painted first, so that of regions over each other the smallest is seen.

    Raises:
        UserError: a mask is damaged.
    """
    rows = regions.camera_slice(number)
    area = regions.area[rows]
    painted = np.full((camera.height, camera.width), -1, np.int32)
    for index in np.argsort(-area, kind="stable").tolist():
        try:
            mask = decode(regions.rle[rows.start + index], camera.height, camera.width)
        except ValueError as error:
            raise UserError(f"frame {frame_id}, {camera.name}: region {index}: {error}") from error
        painted[mask] = index
    return painted


def number_compactly(painted: NDArray[np.int32], size: int) -> NDArray[np.uint8]:
    """Ids from 0 without gaps, in the order of the regions; the background is the last one, if there is any.

    Of more than ``size - 1`` regions, the smallest are given to the nearest of those that stay.

    Args:
        painted: (H, W), -1 for the background.
        size: ids are below it; at most 256.
    """
    found, counts = np.unique(painted[painted >= 0], return_counts=True)
    keep = np.sort(found[np.argsort(-counts, kind="stable")[: size - 1]])
    ids = np.full(int(painted.max(initial=-1)) + 2, -1, np.int32)
    ids[keep] = np.arange(len(keep))
    out = ids[painted]
    lost = (painted >= 0) & (out < 0)
    if lost.any():
        nearest = distance_transform_edt(out < 0, return_distances=False, return_indices=True)
        out[lost] = out[tuple(nearest)][lost]
    out[painted < 0] = len(keep)
    return out.astype(np.uint8)


def image_regions(
    frame: RunFrame, names: Mapping[str, str]
) -> Iterator[tuple[str, slice, NDArray[np.int32]]]:
    """For every camera: name of the image's files, its rows of regions, and what is painted.

    Args:
        frame: of the run.
        names: of `labelgen.exports.tables.image_names`.

    Raises:
        UserError: the tables do not name the image, or a mask is damaged.
    """
    for number, camera in enumerate(frame.planned.cameras):
        name = names.get(camera.image_path)
        if name is None or "/" in name or name.startswith("."):
            raise UserError(
                f"frame {frame.frame_id}: {camera.image_path} is not a keyframe of {frame.run.root}"
            )
        painted = paint(frame.regions, number, camera, frame.frame_id)
        yield name, frame.regions.camera_slice(number), painted
