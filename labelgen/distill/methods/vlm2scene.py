"""VLM2Scene: region contrast with a semantic filter, class assignment and captions, each switchable.

Liao, Li, Ye, AAAI 2024. What its text leaves open is decided here as docs/distillation.md says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from labelgen.distill.batch import Batch
from labelgen.distill.losses import (
    caption_contrast,
    class_assignment,
    filtered_contrast,
    info_nce,
    majority_class,
)
from labelgen.distill.methods.base import CacheInfo
from labelgen.distill.methods.heads import (
    UnitHead,
    class_text,
    feature_width,
    full_precision,
    given,
    has_class,
    pairs,
    pool_regions,
    sample,
)
from labelgen.distill.methods.pretraining import Pretraining
from labelgen.distill.settings.methods import Vlm2SceneSettings


class Vlm2Scene(Pretraining):
    """Points in the space of CLIP: one linear head; images and texts are frozen."""

    name: ClassVar[str] = "vlm2scene"
    needs: Sequence[str] = ("view_point", "view_region", "region_feature", "region_label", "caption_feature")
    class_text: Tensor

    def __init__(self, settings: Vlm2SceneSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.settings = settings
        self.needs = _needs(settings)
        self.head = UnitHead(width, feature_width(info, self.name))
        self.register_buffer("class_text", class_text(info, self.name), persistent=False)

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss`` and its parts ``contrast``, ``rsa``, ``rcp``."""
        chosen, tau = self.settings, self.settings.temperature
        unit = self.head(features)
        look = given(batch.region_feature).to(unit.dtype)
        losses = {}
        if chosen.contrast == "point":
            point, region = pairs(batch)
            drawn = sample(len(point), chosen.pairs, unit.device)
            losses["contrast"] = info_nce(unit[point[drawn]], look[region[drawn]], tau)
        else:
            losses["contrast"] = self._region_contrast(batch, unit, look)
        if chosen.rsa:
            losses["rsa"] = self._assign(batch, unit)
        if chosen.rcp:
            text, told = self._text(batch)
            anchor, rows = pool_regions(batch, unit, told)
            losses["rcp"] = caption_contrast(anchor, text[rows].to(unit.dtype), tau)
        weights = {"contrast": chosen.contrast_weight, "rsa": chosen.rsa_weight, "rcp": chosen.rcp_weight}
        total = torch.stack([weights[name] * part for name, part in losses.items()]).sum()
        return {"loss": total, **losses}

    def embed(self, features: Tensor) -> Tensor:
        """(N, D) in the space of the texts."""
        unit: Tensor = self.head(features)
        return unit

    def _region_contrast(self, batch: Batch, unit: Tensor, look: Tensor) -> Tensor:
        chosen = self.settings
        if chosen.contrast == "region":
            anchor, rows = pool_regions(batch, unit)
            return info_nce(anchor, look[rows], chosen.temperature)
        text, told = self._text(batch)
        anchor, rows = pool_regions(batch, unit, told)
        words = text[rows].to(unit.dtype)
        return filtered_contrast(anchor, look[rows], words, look[rows], chosen.temperature, chosen.epsilon)

    def _assign(self, batch: Batch, unit: Tensor) -> Tensor:
        """A view's class is that of its region; of several views of a point, most views' class counts."""
        point, region = pairs(batch)
        label = given(batch.region_label)[region]
        classes = len(self.class_text)
        assigned = majority_class(label, point, len(unit), classes)
        known = assigned >= 0
        return class_assignment(
            unit[known], self.class_text.to(unit.dtype), assigned[known], self.settings.temperature
        )

    def _text(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(K, D) text of each region, and (K,) bool whether it has one."""
        if self.settings.text == "caption":
            return self._captions(batch)
        told = has_class(batch)
        named = self.class_text[torch.where(told, given(batch.region_label), 0)]
        if self.settings.text == "class":
            return named, told
        caption, captioned = self._captions(batch)
        return torch.where(captioned[:, None], caption.to(named.dtype), named), told | captioned

    def _captions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        caption = given(batch.caption_feature)
        return caption, caption.any(1)  # of what was not captioned, zeros are stored


def _needs(settings: Vlm2SceneSettings) -> tuple[str, ...]:
    texts = settings.rcp or settings.contrast == "filtered"
    label = settings.rsa or (texts and settings.text != "caption")
    caption = texts and settings.text != "class"
    return (
        "view_point",
        "view_region",
        "region_feature",
        *(("region_label",) if label else ()),
        *(("caption_feature",) if caption else ()),
    )
