"""A source of meaning: the class whose colour is nearest to a region's mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelgen.core.records import UNLABELLED, Regions, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.models.backend import Backend
from labelgen.models.info import ModelInfo
from labelgen.semantics.settings import SemanticSettings

#: Mean colours, RGB, of what has one; classes that a taxonomy lacks are left out.
PALETTE = {
    "driveable_surface": (105, 105, 110),
    "sidewalk": (160, 150, 150),
    "manmade": (170, 120, 90),
    "vegetation": (70, 110, 50),
}


class ColourSettings(SemanticSettings):
    """Classes by mean colour."""

    backend: Literal["colour"] = Field("colour", description="how regions get a meaning")
    spread: float = Field(20.0, gt=0, le=255, description="of the colours of one class, in steps of 256")


class ColourSource:
    """Scores fall with the square of the distance to a class's colour; what is far from all is void."""

    def __init__(self, config: ColourSettings) -> None:
        self.config = config
        self.info = describe(config)

    def encode(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions, taxonomy: Taxonomy
    ) -> Semantics:
        """Semantics of K regions for C classes; this source has no features, so they are (K, 0)."""
        from labelgen.geometry.rle import decode

        known = [(number, PALETTE[name]) for number, name in enumerate(taxonomy.names) if name in PALETTE]
        scores = np.zeros((len(regions), len(taxonomy)), np.float16)
        label = np.full(len(regions), UNLABELLED, np.uint8)
        for row, (camera, code) in enumerate(zip(regions.camera, regions.rle, strict=True)):
            image = images[camera]
            if image is None or not known or regions.area[row] == 0:
                continue
            mean = image[decode(code, *image.shape[:2])].mean(axis=0)
            distance = np.array([((mean - colour) ** 2).sum() for _, colour in known])
            like = np.exp(-distance / (2 * self.config.spread**2))
            classes = [number for number, _ in known]
            scores[row, classes] = like / max(1.0, like.sum())  # what is missing to 1 is void's
            if scores[row].max() > 1 - scores[row].sum():
                label[row] = scores[row].argmax()
        return Semantics(class_scores=scores, label=label, feature=np.zeros((len(regions), 0), np.float16))


def describe(config: ColourSettings) -> ModelInfo:
    """What a run records. Whoever changes the palette raises the revision: labels change with it."""
    return ModelInfo("colour", revision="1", licence="Apache-2.0", weights="")


COLOUR = Backend(
    about="the class whose colour is nearest",
    settings=ColourSettings,
    describe=describe,
    make=lambda config, device, threads: ColourSource(config),
)
