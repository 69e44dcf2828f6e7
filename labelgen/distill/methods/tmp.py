"""UOV's tri-modal pre-training (TMP): regions with images and with the whole vocabulary.

Sun et al. 2024 (UOV, later AFOV), section 3.2 and its released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from labelgen.distill.batch import Batch
from labelgen.distill.losses import info_nce, soft_targets, text_contrast
from labelgen.distill.methods.base import CacheInfo
from labelgen.distill.methods.heads import (
    UnitHead,
    class_words,
    feature_width,
    full_precision,
    given,
    has_class,
    pool_regions,
)
from labelgen.distill.methods.pretraining import Pretraining
from labelgen.distill.settings.methods import TmpSettings


class Tmp(Pretraining):
    """One linear head into the space of the texts; regions that mean nothing known are left out."""

    needs: Sequence[str] = ("view_point", "view_region", "region_feature", "region_label")
    name: ClassVar[str] = "tmp"
    text: Tensor
    group: Tensor
    target: Tensor

    def __init__(self, settings: TmpSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.settings = settings
        self.head = UnitHead(width, feature_width(info, self.name))
        text, group = class_words(info, settings.vocabulary, self.name)
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("group", group, persistent=False)
        self.register_buffer("target", soft_targets(text, group, settings.own), persistent=False)

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss`` and its parts ``image`` and ``text``."""
        tau = self.settings.temperature
        anchor, rows = pool_regions(batch, self.head(features), has_class(batch))
        look = given(batch.region_feature)[rows].to(anchor.dtype)
        text, target = self.text.to(anchor.dtype), self.target.to(anchor.dtype)
        image = info_nce(anchor, look, tau)
        words = text_contrast(anchor, text, target, self.words(look, given(batch.region_label)[rows]), tau)
        loss = self.settings.image_weight * image + self.settings.text_weight * words
        return {"loss": loss, "image": image, "text": words}

    def words(self, look: Tensor, label: Tensor) -> Tensor:
        """Word of each region: the one of its class that is nearest to its image feature.

        Args:
            look: (M, D), L2-normalised.
            label: (M,) class.

        Returns:
            (M,) rows of ``text``.
        """
        near = look @ self.text.to(look.dtype).T
        return near.masked_fill(self.group != label[:, None], -torch.inf).argmax(1)

    def embed(self, features: Tensor) -> Tensor:
        """(N, D) in the space of the texts."""
        unit: Tensor = self.head(features)
        return unit
