"""RSA: a region takes the class that most of its pixels hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from labelgen.geometry.rle import label_counts
from labelgen.records import UNLABELLED
from labelgen.semantics.cells import cell_of
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.prompts import Vocabulary, class_logits

#: Pixels: between the cells of a map, class scores are interpolated at points so far apart.
STEP = 8


def pixel_classes(dense: DenseMap, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The best class of every pixel.

    Cosines are taken on the map's cells and interpolated (bilinear), as MaskCLIP does with its logits.

    Args:
        dense: as it is stored, so that classes can be computed again from what is stored.
        vocabulary: of the map's text encoder.

    Returns:
        (H, W) int64, ``vocabulary.classes`` where void words win.
    """
    h, w, width = dense.feature.shape
    cosine = (
        dense.feature.reshape(-1, width).astype(np.float64) @ vocabulary.word_feature.astype(np.float64).T
    )
    logits = class_logits(cosine, vocabulary.word_class).reshape(1, h, w, -1)
    height, length = (
        max(-(-pixels // STEP), cells) for pixels, cells in zip(dense.size, (h, w), strict=True)
    )
    finer = torch.nn.functional.interpolate(
        torch.from_numpy(logits.astype(np.float32)).permute(0, 3, 1, 2).contiguous(),
        (height, length),
        mode="bilinear",
        align_corners=False,
    )
    best: NDArray[np.int64] = finer[0].argmax(dim=0).numpy()
    rows, columns = cell_of(dense.size[0], height), cell_of(dense.size[1], length)
    # Down the columns in memory, as run lengths are counted.
    return best.T.take(columns, axis=0).take(rows, axis=1).T


def majority(
    codes: Sequence[bytes], classes: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Region semantic assignment (Liao, Li and Ye 2024, VLM2Scene): the vote of a region's pixels.

    Args:
        codes: K masks of the image's size.
        classes: (H, W) class of every pixel, by `pixel_classes`.
        num_classes: C; pixels of class C are void.

    Returns:
        (K, C) float16 share of the pixels that hold each class; what is missing to 1 is void's. And (K,)
        uint8 labels, 255 where void has the most, or where there is no pixel.
    """
    counts = label_counts(codes, classes, num_classes + 1)
    area = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(area, 1)
    label = counts.argmax(axis=1)
    label[(label == num_classes) | (area[:, 0] == 0)] = UNLABELLED
    return share[:, :num_classes].astype(np.float16), label.astype(np.uint8)
