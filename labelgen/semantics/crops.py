"""Square crops around regions, surroundings dimmed: what the image tower sees, in training and in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from labelgen.core.records import Regions
from labelgen.geometry.rle import parse
from labelgen.regions.base import as_rgb

#: Samples per output pixel and axis are as many as source pixels, up to this number: beyond it more
#: samples cost time and change no pixel by more than a few grey levels.
MAX_SAMPLES = 4


def region_crops(
    images: Sequence[NDArray[np.uint8] | None],
    regions: Regions,
    *,
    size: int,
    scale: float,
    background: float,
    mean: tuple[float, float, float],
    least: float = 0.0,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Crop the regions of a frame out, one after the other; see `region_crop`.

    Args:
        images: one per camera, (H, W, 3) uint8 RGB, or grey; None where the image is missing.
        regions: of the frame.
        size: pixels per side of a crop.
        scale: as for `region_crop`, as are the next two.
        background: share of the surroundings that stays.
        mean: RGB in 0..255.
        least: as for `region_crop`.
        rows: regions to cut out, ascending; None for all.

    Yields:
        (size, size, 3) uint8.

    Raises:
        ValueError: a region lies in an image that is not there.
    """
    rows = np.arange(len(regions)) if rows is None else rows
    for camera in np.unique(regions.camera[rows]):
        image = images[camera]
        some = rows[regions.camera[rows] == camera]
        if image is None:
            raise missing_image(slice(int(some[0]), int(some[-1]) + 1), int(camera))
        image = as_rgb(image)
        runs = parse([regions.rle[row] for row in some], image.shape[0], image.shape[1])
        for number, row in enumerate(some):
            yield region_crop(
                image,
                runs.ends[runs.offsets[number] : runs.offsets[number + 1]],
                regions.box_xyxy[row],
                size=size,
                scale=scale,
                background=background,
                mean=mean,
                least=least,
            )


def missing_image(rows: slice, camera: int) -> ValueError:
    """The error of regions in an image that is not there."""
    return ValueError(f"regions {rows.start}..{rows.stop - 1} lie in camera {camera}, which has no image")


def region_crop(
    image: NDArray[np.uint8],
    ends: NDArray[np.int32],
    box_xyxy: NDArray[np.float32],
    *,
    size: int,
    scale: float,
    background: float,
    mean: tuple[float, float, float],
    least: float = 0.0,
) -> NDArray[np.uint8]:
    """Crop one region out of its image.

    The crop is the square around the box's centre whose side is ``scale`` times the box's longer side, or
    ``least`` if that is more.
    Pixels of the region stay as they are; other pixels keep ``background`` of their difference to
    ``mean``; what lies outside the image is ``mean``.

    Args:
        image: (H, W, 3) uint8 RGB.
        ends: (R,) int32 ends of the runs of the region's mask, as in `labelgen.geometry.rle.Runs`.
        box_xyxy: (4,) pixels, right and bottom exclusive.
        size: pixels per side of the result.
        scale: at least 1.
        background: 0 (surroundings vanish) to 1 (they stay).
        mean: RGB in 0..255.
        least: pixels of the image.

    Returns:
        (size, size, 3) uint8.
    """
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    side = max(max(x1 - x0, y1 - y0, 1.0) * scale, least)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    samples = int(min(max(np.ceil(side / size), 1), MAX_SAMPLES))
    fill = np.asarray(mean, np.float32)
    mask = _mask_in_box(ends, image.shape[0], int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1)))
    crop: NDArray[np.uint8] = _sample(
        image, mask, int(x0), int(y0), left, top, side, size, samples, background, fill
    )
    return crop


@njit(cache=True)
def _mask_in_box(ends, height, x0, y0, x1, y1):  # type: ignore[no-untyped-def]
    """The mask inside its box, (y1 - y0, x1 - x0) uint8."""
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for i in range(1, len(ends), 2):
        for pixel in range(ends[i - 1], ends[i]):
            x, y = pixel // height - x0, pixel % height - y0
            if 0 <= x < mask.shape[1] and 0 <= y < mask.shape[0]:
                mask[y, x] = 1
    return mask


@njit(cache=True)
def _sample(image, mask, x0, y0, left, top, side, size, samples, background, fill):  # type: ignore[no-untyped-def]
    """Mean of ``samples`` x ``samples`` bilinear samples per output pixel."""
    H, W = image.shape[:2]
    out = np.empty((size, size, 3), np.uint8)
    step = side / (size * samples)
    weight = np.float32(1.0 / (samples * samples))
    keep = np.float32(background)
    for row in range(size):
        for column in range(size):
            red = green = blue = np.float32(0.0)
            for j in range(samples):
                v = top + (row * samples + j + 0.5) * step - 0.5
                for i in range(samples):
                    u = left + (column * samples + i + 0.5) * step - 0.5
                    c, r = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
                    if r < 0 or c < 0 or r >= H or c >= W:
                        red += fill[0]
                        green += fill[1]
                        blue += fill[2]
                        continue
                    inside = (
                        0 <= r - y0 < mask.shape[0] and 0 <= c - x0 < mask.shape[1] and mask[r - y0, c - x0]
                    )
                    share = np.float32(1.0) if inside else keep
                    ca, ra = max(int(np.floor(u)), 0), max(int(np.floor(v)), 0)
                    cb, rb = min(ca + 1, W - 1), min(ra + 1, H - 1)
                    a, b = np.float32(max(u - ca, 0.0)), np.float32(max(v - ra, 0.0))
                    one = np.float32(1.0)
                    w00, w01 = (one - b) * (one - a), (one - b) * a
                    w10, w11 = b * (one - a), b * a
                    p, q, s, t = image[ra, ca], image[ra, cb], image[rb, ca], image[rb, cb]
                    red += fill[0] + share * (w00 * p[0] + w01 * q[0] + w10 * s[0] + w11 * t[0] - fill[0])
                    green += fill[1] + share * (w00 * p[1] + w01 * q[1] + w10 * s[1] + w11 * t[1] - fill[1])
                    blue += fill[2] + share * (w00 * p[2] + w01 * q[2] + w10 * s[2] + w11 * t[2] - fill[2])
            out[row, column, 0] = int(red * weight + np.float32(0.5))
            out[row, column, 1] = int(green * weight + np.float32(0.5))
            out[row, column, 2] = int(blue * weight + np.float32(0.5))
    return out
