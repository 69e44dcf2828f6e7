"""Contrast with a trainable image head: PPKT (points), SLidR (regions), ST-SLidR (tolerant regions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from labelgen.distill.batch import Batch
from labelgen.distill.losses import info_nce, tolerant_contrast
from labelgen.distill.methods.base import CacheInfo
from labelgen.distill.methods.heads import (
    UnitHead,
    feature_width,
    full_precision,
    given,
    pairs,
    pool_regions,
    sample,
)
from labelgen.distill.methods.pretraining import Pretraining
from labelgen.distill.settings.methods import PpktSettings, SlidrSettings, TolerantSettings


class Slidr(Pretraining):
    """Superpoints against superpixels: a linear head on each side, InfoNCE over all regions of the batch.

    The image side is the run's frozen region feature through a trainable linear layer, in place of a
    pooled map of ResNet features through a trainable 1x1 convolution.
    """

    needs: Sequence[str] = ("view_point", "view_region", "region_feature")
    name: ClassVar[str] = "slidr"

    def __init__(self, settings: SlidrSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.settings = settings
        self.point_head = UnitHead(width, settings.width)
        self.image_head = UnitHead(feature_width(info, self.name), settings.width)

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss``."""
        anchor, rows = pool_regions(batch, self.point_head(features))
        look = given(batch.region_feature)[rows].to(features.dtype)
        return {"loss": self.contrast(anchor, self.image_head(look), look)}

    def contrast(self, anchor: Tensor, target: Tensor, look: Tensor) -> Tensor:
        """Loss of (M, D) points' means and images; (M, E) are the frozen features."""
        return info_nce(anchor, target, self.settings.temperature)


class TolerantSlidr(Slidr):
    """SLidR whose look-alike negatives count less, and whose anchors are balanced."""

    name: ClassVar[str] = "st-slidr"
    settings: TolerantSettings

    def contrast(self, anchor: Tensor, target: Tensor, look: Tensor) -> Tensor:
        """As in `Slidr`."""
        chosen = self.settings
        return tolerant_contrast(anchor, target, look, chosen.temperature, chosen.quantile, chosen.balance)


class Ppkt(Slidr):
    """Points against pixels; a pixel's feature is its region's."""

    name: ClassVar[str] = "ppkt"
    settings: PpktSettings

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss``."""
        point, region = pairs(batch)
        drawn = sample(len(point), self.settings.pairs, features.device)
        look = given(batch.region_feature)[region[drawn]].to(features.dtype)
        anchor = self.point_head(features[point[drawn]])
        return {"loss": info_nce(anchor, self.image_head(look), self.settings.temperature)}
