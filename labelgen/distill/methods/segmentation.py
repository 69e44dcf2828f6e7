"""Training on labels, true or pseudo: a head that gives class scores, cross entropy and Lovász-softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from labelgen.distill.batch import IGNORE, Batch
from labelgen.distill.losses.segmentation import lovasz_softmax, weighted_cross_entropy
from labelgen.distill.methods.answer import Answer
from labelgen.distill.methods.base import CacheInfo, Method
from labelgen.distill.methods.heads import class_text, full_precision
from labelgen.distill.settings.methods import SegmentationSettings


class Segmentation(Method):
    """Class scores for every point."""

    name: ClassVar[str] = "segmentation"
    needs: Sequence[str] = ("label", "confidence")
    class_text: Tensor

    def __init__(self, settings: SegmentationSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.settings = settings
        self.norm = nn.BatchNorm1d(width)
        if settings.head == "text":
            self.register_buffer("class_text", class_text(info, self.name), persistent=False)
            self.layer = nn.Linear(width, self.class_text.shape[1])
        else:
            self.layer = nn.Linear(width, info.classes)
            nn.init.zeros_(self.layer.weight)
            nn.init.zeros_(self.layer.bias)

    def logits(self, features: Tensor) -> Tensor:
        """(N, C) class scores before the softmax."""
        out: Tensor = self.layer(self.norm(features))
        if self.settings.head == "linear":
            return out
        return normalize(out, dim=1) @ self.class_text.T / self.settings.temperature

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss`` and its parts ``ce``, ``lovasz``."""
        assert batch.label is not None
        logits = self.logits(features)
        known = batch.label != IGNORE
        weight = None
        if batch.confidence is not None and self.settings.confidence > 0:
            weight = batch.confidence[known] ** self.settings.confidence
        logits, label = logits[known], batch.label[known]
        losses = {
            "ce": weighted_cross_entropy(logits, label, weight),
            "lovasz": lovasz_softmax(logits.softmax(dim=1), label, weight),
        }
        total = self.settings.cross_entropy * losses["ce"] + self.settings.lovasz * losses["lovasz"]
        return {"loss": total, **losses}

    def predict(self, batch: Batch, features: Tensor, info: CacheInfo) -> Answer:
        """Probabilities of the classes."""
        return Answer(probability=self.logits(features.float()).float().softmax(dim=1))
