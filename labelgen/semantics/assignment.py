"""RSA: a region takes the class that most of its pixels hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.grid_overlap import cell_of, class_counts
from labelgen.semantics.prompts import Vocabulary

#: Pixels: between the cells of a map, class scores are interpolated at points so far apart.
STEP = 8


def pixel_classes(dense: DenseMap, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """(H, W) the best class of every pixel: that of its cell in `cell_classes`."""
    cells = cell_classes(dense, vocabulary)
    rows, columns = (cell_of(length, n) for length, n in zip(dense.size, cells.shape, strict=True))
    pixels: NDArray[np.int64] = cells[rows[:, None], columns]
    return pixels


def cell_classes(dense: DenseMap, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The best class on a grid of cells of about `STEP` pixels, none coarser than the map's.

    Cosines are taken on the map's cells and interpolated (bilinear), as MaskCLIP does with its logits.

    Args:
        dense: as it is stored, so that classes can be computed again from what is stored.
        vocabulary: of the map's text encoder.

    Returns:
        (h', w') int64, ``vocabulary.classes`` where void words win.
    """
    h, w, width = dense.feature.shape
    logits = vocabulary.logits(dense.feature.reshape(-1, width)).astype(np.float32)
    height, length = (
        max(-(-pixels // STEP), cells) for pixels, cells in zip(dense.size, (h, w), strict=True)
    )
    finer = torch.nn.functional.interpolate(
        torch.from_numpy(logits).reshape(1, -1, h, w), (height, length), mode="bilinear", align_corners=False
    )
    best: NDArray[np.int64] = _best(finer[0].numpy())
    return best


@njit(cache=True)
def _best(logits: Any) -> Any:
    """(h, w) the first class of the largest of (C, h, w); several times as fast as torch's and numpy's."""
    best = np.zeros(logits.shape[1:], np.int64)
    most = logits[0].copy()
    for c in range(1, len(logits)):
        for y in range(logits.shape[1]):
            for x in range(logits.shape[2]):
                more = logits[c, y, x] > most[y, x]
                most[y, x] = logits[c, y, x] if more else most[y, x]
                best[y, x] = c if more else best[y, x]
    return best


def majority(
    codes: Sequence[bytes],
    classes: NDArray[np.int64],
    num_classes: int,
    size: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Region semantic assignment (Liao, Li and Ye 2024, VLM2Scene): the vote of a region's pixels.

    Args:
        codes: K masks of the image's size.
        classes: (h, w) class of every cell of a grid over the image, by `cell_classes`.
        num_classes: C; pixels of class C are void.
        size: (H, W) of the image; None: the cells are its pixels.

    Returns:
        (K, C) float16 share of the pixels that hold each class; what is missing to 1 is void's. And (K,)
        uint8 labels, 255 where void has the most, or where there is no pixel.
    """
    counts = class_counts(codes, size or (classes.shape[0], classes.shape[1]), classes, num_classes + 1)
    area = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(area, 1)
    label = counts.argmax(axis=1)
    label[(label == num_classes) | (area[:, 0] == 0)] = UNLABELLED
    return share[:, :num_classes].astype(np.float16), label.astype(np.uint8)
