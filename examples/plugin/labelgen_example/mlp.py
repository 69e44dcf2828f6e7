"""A 3D network: each point by itself, through a small MLP."""

from __future__ import annotations

from torch import Tensor, nn

from labelgen.distill.backbones import Backbone
from labelgen.distill.batch import Batch
from labelgen_example.training import MlpSettings


class Mlp(Backbone):
    """Intensity, position and range of a point to its feature."""

    def __init__(self, settings: MlpSettings) -> None:
        super().__init__()
        self.width = settings.width
        sizes = [5] + [settings.width] * (settings.layers - 1)
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Linear(size, settings.width), nn.LayerNorm(settings.width), nn.ReLU())
            for size in sizes
        )

    @property
    def layers(self) -> list[nn.Module]:
        """In the order in which points pass them."""
        return list(self.steps)

    def forward(self, batch: Batch) -> Tensor:
        """(N, width) features of the batch's points."""
        features = batch.inputs
        for step in self.steps:
            features = step(features)
        return features
