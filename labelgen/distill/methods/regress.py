"""Regression of image features without negatives: ScaLR (pairs) and OpenScene (fused over the cameras)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from labelgen.distill.batch import Batch
from labelgen.distill.losses import cosine_distance, unit_distance
from labelgen.distill.methods.base import CacheInfo
from labelgen.distill.methods.heads import feature_width, full_precision, fuse_views, given, pairs
from labelgen.distill.methods.pretraining import Pretraining
from labelgen.distill.settings.methods import MethodSettings


class Scalr(Pretraining):
    """Every point at the feature of each pixel that sees it (Puy et al. 2024)."""

    needs: Sequence[str] = ("view_point", "view_region", "region_feature")
    name: ClassVar[str] = "scalr"

    def __init__(self, settings: MethodSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.head = nn.Linear(width, feature_width(info, self.name))

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss``."""
        point, region = pairs(batch)
        target = given(batch.region_feature)[region].to(features.dtype)
        return {"loss": unit_distance(self.head(features)[point], target)}

    def embed(self, features: Tensor) -> Tensor:
        """(N, D) in the space of the image features."""
        return normalize(self.head(features), dim=1)


class OpenScene(Scalr):
    """Every point at the mean feature of the cameras that see it (Peng et al. 2023)."""

    name: ClassVar[str] = "openscene"

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss``."""
        fused, count = fuse_views(batch, features.dtype)
        chosen = count > 0
        return {"loss": cosine_distance(self.head(features[chosen]), fused[chosen])}
