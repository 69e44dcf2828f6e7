"""Classes that another model wrote: class maps, region tables and score maps of any 2D segmenter, by file.

Per image one of

- ``<name>.npz`` or ``.npy``, scores: ``probabilities`` (C, h, w), uint8 (255 is 1) or float, any resolution;
- ``<name>.png`` with ``<name>.json`` beside it, regions as UOV and panoptic segmenters store them: id k + 1
  is entry k of the list, whose ``category_id`` is the class, and id 0 is no region;
- ``<name>.png`` alone, 8 or 16 bits, paletted too: the class of every pixel.

A region's class scores are the shares of its pixels by class, or the mean of their scores. What is missing to
1 is void's: pixels of classes that get no label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError
from labelgen.core.records import UNLABELLED, Regions, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.geometry.rle import Runs, label_counts, parse
from labelgen.io.bounded import read_npy, read_npz
from labelgen.models.image_files import ImageFiles
from labelgen.models.info import ModelInfo
from labelgen.regions.files import read_categories, read_id_map
from labelgen.semantics.base import FrameImages
from labelgen.semantics.settings import GivenSettings
from labelgen.semantics.source_classes import SourceClasses, load_source_classes

_ENDINGS = (".npz", ".npy", ".png")
#: Bytes of an image's scores: 150 classes in float32 at 1600 x 900.
_LARGEST_SCORES = 1 << 30


class GivenSource:
    """Reads what another model said of each image; nothing is computed of the image itself."""

    def __init__(self, config: GivenSettings) -> None:
        """Look for the folder and read the vocabulary.

        Raises:
            UserError: they are missing, or cannot be read.
        """
        self.config = config
        self.files = ImageFiles.open(config.folder, config.names, "semantics.folder")
        self.classes: SourceClasses = load_source_classes(config.vocabulary)
        self.info = describe_given(config)
        self._tables: dict[str, NDArray[np.int64]] = {}

    def prepare(self, taxonomy: Taxonomy) -> None:
        """Find our class of each of theirs.

        Raises:
            UserError: see `SourceClasses.translate`.
        """
        if taxonomy.name not in self._tables:
            self._tables[taxonomy.name] = self.classes.translate(taxonomy, self.config.unmapped)

    def encode(self, images: FrameImages, regions: Regions, taxonomy: Taxonomy) -> Semantics:
        """Semantics of K regions for C classes; there are no features, so these are (K, 0).

        Regions of an image that has no file get no class, and a note says so.

        Raises:
            FrameError: a file that is damaged, of another size, or with ids that the vocabulary lacks.
        """
        self.prepare(taxonomy)
        table, C = self._tables[taxonomy.name], len(taxonomy)
        shares = np.zeros((len(regions), C + 1), np.float64)
        shares[:, C] = 1
        for camera, image in enumerate(images):
            rows = np.flatnonzero(regions.camera == camera)
            if image is None or not len(rows):
                continue
            path = self.files.find(images.paths[camera], _ENDINGS)
            if not path.is_file():
                images.notes.append(f"{path}: there are no classes for image {images.paths[camera]}")
                continue
            codes = [regions.rle[row] for row in rows]
            size = (image.shape[0], image.shape[1])
            if path.suffix == ".png":
                counts: NDArray[Any] = label_counts(codes, self._class_map(path, size, table, C), C + 1)
            else:
                counts = score_sums(parse(codes, *size), *size, self._scores(path, table, C))
            total = counts.sum(axis=1, keepdims=True)
            shares[rows] = np.divide(counts, total, out=shares[rows], where=total > 0)
        if self.config.assignment == "majority":
            shares = np.eye(C + 1)[shares.argmax(axis=1)]
        best = shares.argmax(axis=1)
        return Semantics(
            class_scores=shares[:, :C].astype(np.float16),
            label=np.where(best == C, UNLABELLED, best).astype(np.uint8),
            feature=np.zeros((len(regions), 0), np.float16),
        )

    def _class_map(
        self, path: Path, size: tuple[int, int], table: NDArray[np.int64], void: int
    ) -> NDArray[np.int64]:
        """(H, W) our class of every pixel; what gets no label has the one after the last."""
        ids = read_id_map(path, size).astype(np.int64)
        categories = read_categories(path.with_suffix(".json"))
        if categories is None:
            return self._ours(ids, table, path)
        if ids.max(initial=0) > len(categories):
            raise FrameError(
                f"id {ids.max()}, but the list beside it has {len(categories)} regions", path=str(path)
            )
        ours = self._ours(categories.astype(np.int64), table, path)
        return np.concatenate([[void], ours])[ids]

    def _ours(self, ids: NDArray[np.int64], table: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
        """Our classes of ids.

        Raises:
            FrameError: the vocabulary lacks one.
        """
        found = np.where((ids >= 0) & (ids < len(table)), table[np.clip(ids, 0, len(table) - 1)], -1)
        if (found < 0).any():
            known = f"{min(self.classes.ids)} to {max(self.classes.ids)}"
            raise FrameError(
                f"class {ids[found < 0].flat[0]} is not in the vocabulary {self.classes.name}, which has "
                f"{known} (semantics.vocabulary)",
                path=str(path),
            )
        return found

    def _scores(self, path: Path, table: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
        """(h, w, C + 1) scores of our C classes, void last."""
        given = read_scores(path)
        if len(given) > len(table) or (table[: len(given)] < 0).any():
            known = f"the vocabulary {self.classes.name} has {len(self.classes.ids)}"
            raise FrameError(f"scores of {len(given)} classes; {known}", path=str(path))
        ours = np.zeros((classes + 1, *given.shape[1:]), np.float32)
        np.add.at(ours, table[: len(given)], given)
        return np.ascontiguousarray(ours.transpose(1, 2, 0))


def describe_given(config: GivenSettings) -> ModelInfo:
    """What to record about a folder of another model's classes, and of what they are called.

    Raises:
        UserError: no folder is given, it holds no file, or there is no such vocabulary.
    """
    files = ImageFiles.open(config.folder, None, "semantics.folder")
    classes = load_source_classes(config.vocabulary)
    return files.describe(
        "given", f"files, classes of {classes.name}", (*_ENDINGS, ".json"), classes.digest()
    )


def read_scores(path: Path) -> NDArray[np.float32]:
    """(C, h, w) float32 scores in 0..1.

    Args:
        path: of an ``.npz`` with ``probabilities``, or of an ``.npy``; uint8 (255 is 1) or float.

    Raises:
        FrameError: a damaged file, another shape, or values that are not in 0..1.
    """
    try:
        content = path.read_bytes()
        read = read_npz if path.suffix == ".npz" else read_npy
        values = read(content, "probabilities", _LARGEST_SCORES)
    except (OSError, ValueError) as error:
        raise FrameError(f"scores cannot be read: {error}", path=str(path)) from None
    if values.ndim != 3 or 0 in values.shape:
        raise FrameError(f"scores need classes x rows x columns, not {list(values.shape)}", path=str(path))
    scores = values.astype(np.float32)
    if values.dtype.kind in "ui":
        scores /= np.iinfo(values.dtype).max
    if not (scores.min() >= -1e-3 and scores.max() <= 1 + 1e-3):  # nor NaN
        raise FrameError("scores are not in 0..1 (softmax them), or not all are numbers", path=str(path))
    return scores


@numba.njit(cache=True)
def score_sums(runs: Runs, height: int, width: int, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K, C) sums of the scores of every mask's pixels; pixel (v, u) lies in cell (v h // H, u w // W)."""
    K = len(runs.offsets) - 1
    rows, columns, C = scores.shape
    out = np.zeros((K, C), np.float64)
    for k in range(K):
        for i in range(runs.offsets[k] + 1, runs.offsets[k + 1], 2):
            for pixel in range(runs.ends[i - 1], runs.ends[i]):  # counted down the columns
                u, v = pixel // height, pixel % height
                row, column = v * rows // height, u * columns // width
                for c in range(C):
                    out[k, c] += scores[row, column, c]
    return out
