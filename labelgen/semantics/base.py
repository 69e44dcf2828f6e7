"""What a semantic encoder and a captioner take and give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import Regions, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.models.info import ModelInfo


class FrameImages(Sequence[NDArray[np.uint8] | None]):
    """A frame's images, one per camera, and what is known of them.

    As a sequence: (H, W, 3) uint8 RGB, or None where an image is missing.

    Attributes:
        paths: of the images, relative to the data root.
        cameras: their names.
        frame_id: of the frame.
        notes: a source may add what is worth knowing and fails no frame.
    """

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8] | None],
        paths: Sequence[str] = (),
        cameras: Sequence[str] = (),
        frame_id: str = "",
    ) -> None:
        self._images = tuple(images)
        self.paths, self.cameras, self.frame_id = tuple(paths), tuple(cameras), frame_id
        self.notes: list[str] = []

    def __getitem__(self, index: Any) -> Any:
        return self._images[index]

    def __len__(self) -> int:
        return len(self._images)


class TextEncoder(Protocol):
    """Puts texts into the space of the image features."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(T, D) float32, L2-normalised."""
        ...


class SemanticSource(Protocol):
    """Gives the regions of a frame class scores, and features if it has any."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def encode(self, images: FrameImages, regions: Regions, taxonomy: Taxonomy) -> Semantics:
        """Semantics of the regions, row by row.

        Args:
            images: of the frame; no region may lie in one that is missing.
            regions: of the frame, K of them.
            taxonomy: the classes that compete, C of them.

        Returns:
            K rows: ``class_scores`` (K, C) float16, ``label`` (K,) uint8, 255 for none, and ``feature``
            (K, D) float16, L2-normalised; (K, 0) from a source that has none.

        Raises:
            FrameError: the frame cannot be described; it is recorded as failed and the run goes on.
        """
        ...


class SemanticEncoder(SemanticSource, Protocol):
    """A source whose features lie in the space of texts: its runs can be relabelled with other words."""

    def class_embedding(self, taxonomy: Taxonomy) -> NDArray[np.float32]:
        """(C, D) float32, L2-normalised text feature of every class, for the run's record."""
        ...


class Captioner(Protocol):
    """Describes regions in words."""

    @property
    def info(self) -> ModelInfo:
        """Name, revision, licence and weight hash for the run's record."""
        ...

    def caption(
        self,
        images: Sequence[NDArray[np.uint8] | None],
        regions: Regions,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[str, ...]:
        """A caption for every region, in order.

        Args:
            images: one per camera, (H, W, 3) uint8 RGB; None where the image is missing (no region may
                lie in it).
            regions: of the frame, K of them.
            rows: regions to describe, ascending; the others get an empty caption. None for all.

        Returns:
            K strings.
        """
        ...
