"""A training method: every point's feature at that of the region it falls in, without negatives."""

from __future__ import annotations

from torch import Tensor, nn

from labelgen.distill.batch import Batch
from labelgen.distill.methods import CacheInfo
from labelgen.distill.methods.heads import feature_width, given, pairs
from labelgen.distill.methods.pretraining import Pretraining
from labelgen_example.training import PlainSettings


class Plain(Pretraining):
    """A linear head into the space of the run's region features, and so of the texts of its classes."""

    needs = ("view_point", "view_region", "region_feature")

    def __init__(self, settings: PlainSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.power = settings.power
        self.head = nn.Linear(width, feature_width(info, "plain"))

    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss``: 0, but connected to the features, where no point falls in a region."""
        point, region = pairs(batch)
        if not len(point):
            return {"loss": features.sum() * 0}
        away = (self.head(features[point].float()) - given(batch.region_feature)[region]).norm(dim=1)
        return {"loss": (away**self.power).mean()}

    def embed(self, features: Tensor) -> Tensor:
        """(N, D) where `predict` of `Pretraining` compares them with the classes' texts."""
        out: Tensor = self.head(features)
        return out
