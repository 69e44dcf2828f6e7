"""Training samples of the demo Sam: pictures or windows of them with prompts and true masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects
from skimage.measure import label as connected
from torch import Tensor

from labelgen.models.conv_encoder import STRIDE

ZOOM = (0.7, 2.2)  #: of windows, over the whole picture's scale; crops of a picture are seen at twice it
SMALLEST = 16  #: pixels at the network's input that a prompted object has at least


@dataclass(frozen=True)
class Sample:
    """A picture, or a window of one, at the network's scale with its prompts.

    Attributes:
        image: (3, h, w) float32, 0..255.
        corner: (row, column) of the window's corner in the network's input, in cells of 8 pixels.
        point: (P, 2) float32 pixels; box: (P, 4) float32 pixels, left, top, right, bottom.
        whole, piece: (P, h / 2, w / 2) float32 in 0..1, the prompted object, and the connected piece of it
            that holds the point.
        dense: for cells of 8 and of 2 pixels, the (rows, columns) int64 class of the object at their
            centres, and (4, rows, columns) float32 the distances from there to the sides of its box, over
            the side of the network's input.
    """

    image: Tensor
    corner: tuple[int, int]
    point: Tensor
    box: Tensor
    whole: Tensor
    piece: Tensor
    dense: tuple[tuple[Tensor, Tensor], ...]


def draw_sample(
    rgb: NDArray[np.uint8],
    objects: NDArray[np.uint16],
    classes: NDArray[np.int64],
    side: int,
    rng: np.random.Generator,
    *,
    prompts: int = 16,
    window: tuple[int, int] | None = None,
) -> Sample | None:
    """Augment one picture and draw prompts on it; None if nothing in it is large enough.

    Half of the points are spread over the picture, as a generator's grid is, half over the objects.

    Args:
        rgb: (H, W, 3) uint8.
        objects: (H, W) uint16 object of every pixel.
        classes: class of every object number.
        side: of the network's input; the picture's longer side is scaled to it.
        rng: source of all that is random.
        prompts: how many.
        window: (rows, columns) of a window at the network's input, drawn at a zoom in `ZOOM`; None for the
            whole picture.
    """
    full = rgb.shape[:2]
    if window is None:
        height, width, corner = round(full[0] * side / full[1] / 4) * 4, side, (0, 0)
    else:
        height, width = window
        rgb, objects, corner = _cut(rgb, objects, window, side, rng)
    image = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    rows = (np.arange(height) + 0.5) * objects.shape[0] / height
    columns = (np.arange(width) + 0.5) * objects.shape[1] / width
    objects = objects[rows.astype(int)[:, None], columns.astype(int)]
    if rng.random() < 0.5:
        image, objects = image[:, ::-1], objects[:, ::-1]
    image = 255 * (np.clip(image * rng.uniform(0.75, 1.25) / 255, 0, 1) ** rng.uniform(0.8, 1.25))

    areas = np.bincount(objects.ravel())
    large = np.flatnonzero(areas >= SMALLEST)
    if len(large) == 0:
        return None
    pieces = connected(objects, background=-1, connectivity=1)  # type: ignore[no-untyped-call]
    spread = np.stack([rng.integers(0, height, prompts), rng.integers(0, width, prompts)], axis=1)
    spread = spread[areas[objects[spread[:, 0], spread[:, 1]]] >= SMALLEST][: prompts // 2]
    order = np.argsort(objects, axis=None, kind="stable")  # a radix sort: pixels grouped by object
    begin = np.cumsum(areas) - areas
    chosen = rng.choice(large, prompts - len(spread))
    pixels = order[begin[chosen] + (rng.random(len(chosen)) * areas[chosen]).astype(int)]
    points = np.concatenate([spread, np.stack(np.unravel_index(pixels, objects.shape), axis=1)])

    at = points[:, 0], points[:, 1]
    whole = objects == objects[at][:, None, None]
    piece = pieces == pieces[at][:, None, None]
    return Sample(
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)),
        corner=corner,
        point=torch.from_numpy((points[:, ::-1] + rng.random(points.shape)).astype(np.float32)),
        box=torch.from_numpy(_boxes(whole, rng)),
        whole=_halve(whole),
        piece=_halve(piece),
        dense=tuple(_dense_truth(objects, classes, cell, side) for cell in (STRIDE, STRIDE // 4)),
    )


def _cut(
    rgb: NDArray[np.uint8],
    objects: NDArray[np.uint16],
    window: tuple[int, int],
    side: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], tuple[int, int]]:
    """The pixels that a window shows, and its corner as in `Sample.corner`."""
    scale = side / objects.shape[1]
    zoom = scale * np.exp(rng.uniform(*np.log(ZOOM)))
    height, width = (min(round(w / zoom), size) for w, size in zip(window, objects.shape, strict=True))
    top, left = rng.integers(0, objects.shape[0] - height + 1), rng.integers(0, objects.shape[1] - width + 1)
    corner = [
        int(np.clip(round((begin + size / 2) * scale - w / 2) // STRIDE, 0, (whole * scale - w) // STRIDE))
        for begin, size, w, whole in zip((top, left), (height, width), window, objects.shape, strict=True)
    ]
    cut = slice(top, top + height), slice(left, left + width)
    return rgb[cut], objects[cut], (corner[0], corner[1])


def _boxes(masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """(P, 4) boxes around masks, every side off by up to a tenth of the box."""
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    height, width = masks.shape[1:]
    top, bottom = rows.argmax(axis=1), height - rows[:, ::-1].argmax(axis=1)
    left, right = columns.argmax(axis=1), width - columns[:, ::-1].argmax(axis=1)
    box = np.stack([left, top, right, bottom], axis=1).astype(np.float32)
    size = np.stack([right - left, bottom - top] * 2, axis=1)
    moved: NDArray[np.float32] = (box + rng.uniform(-0.1, 0.1, box.shape) * size).astype(np.float32)
    return moved


def _dense_truth(
    objects: NDArray[np.uint16], classes: NDArray[np.int64], cell: int, side: int
) -> tuple[Tensor, Tensor]:
    """Classes and boxes at the centres of cells, as in `Sample.dense`."""
    boxes = np.zeros((4, int(objects.max()) + 1), np.float32)
    for number, place in enumerate(find_objects(objects.astype(np.int64) + 1)):
        if place is not None:
            boxes[:, number] = place[1].start, place[0].start, place[1].stop, place[0].stop
    at = objects[cell // 2 :: cell, cell // 2 :: cell]
    y, x = (np.indices(at.shape) * cell + cell // 2).astype(np.float32)
    left, top, right, bottom = boxes[:, at]
    distances = np.stack([x - left, y - top, right - x, bottom - y]) / np.float32(side)
    return torch.from_numpy(classes[at]), torch.from_numpy(distances)


def _halve(masks: NDArray[np.bool_]) -> Tensor:
    """(P, h, w) bool to the covered share of 2 x 2 pixels."""
    corners = [masks[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return torch.from_numpy(np.sum(corners, axis=0, dtype=np.uint8)).float() / 4
