"""Open-vocabulary panoptic segmentation: points with image features, queries, a class head of texts.

Xiao et al., "3D Open-Vocabulary Panoptic Segmentation with 2D-3D Vision-Language Distillation", ECCV 2024.
The paper came without code; docs/panoptic.md says what is published and what is our reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import Taxonomy
from labelgen.distill.batch import IGNORE, Batch
from labelgen.distill.classes import ClassSplit
from labelgen.distill.losses.segmentation import lovasz_softmax
from labelgen.distill.methods.answer import Answer, Segments
from labelgen.distill.methods.base import CacheInfo, Method
from labelgen.distill.methods.heads import class_words, feature_width, full_precision, fuse_views, given
from labelgen.distill.panoptic.appearance import look_masks
from labelgen.distill.panoptic.decoder import Decoder, Guide, Prediction
from labelgen.distill.panoptic.objective import Objective
from labelgen.distill.panoptic.seeds import thing_seeds
from labelgen.distill.panoptic.segment_targets import find_segment_targets
from labelgen.distill.panoptic.segments import (
    allowed_classes,
    ensemble,
    find_segments,
    image_embedding,
)
from labelgen.distill.panoptic.text import TextHead
from labelgen.distill.settings.panoptic import PanopticSettings


class Panoptic(Method):
    """Segments of base and novel classes.

    Attributes:
        classes: base ones, whose labels are learned from, and novel ones, known by their names alone.
    """

    name: ClassVar[str] = "panoptic"
    inputs: Sequence[str] = ("view_point", "view_region", "region_feature")
    needs: Sequence[str] = ("label", "instance", *inputs)
    finds_segments: ClassVar[bool] = True
    classes: ClassSplit
    thing: Tensor
    allowed: Tensor
    looked: Tensor

    def __init__(self, settings: PanopticSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.settings = settings
        self.classes = _split(settings, info.taxonomy)
        thing = [spec.thing for spec in info.taxonomy.classes]
        self.things = [c for c in self.classes.base if thing[c]]
        self.stuff = [c for c in self.classes.base if not thing[c]]
        learned, size = settings.decoder.queries, settings.decoder.width
        self.register_buffer("thing", torch.tensor(thing), persistent=False)
        # Without fusion the images say nothing but what a segment is called.
        looks = settings.inference.looks if settings.fusion else 0
        looked = [c for c in self.classes.novel if looks and not thing[c]]
        self.looks = looks if looked else 0
        self.register_buffer(
            "looked", torch.isin(torch.arange(len(thing)), torch.tensor(looked)), persistent=False
        )
        allowed = allowed_classes(learned, self.stuff, len(thing), looked)
        self.register_buffer("allowed", allowed, persistent=False)
        D = feature_width(info, self.name)
        self.point_norm = nn.LayerNorm(width)
        self.unseen = nn.Parameter(torch.zeros(D if settings.fusion else 0))
        self.decoder = Decoder(settings.decoder, width + len(self.unseen), D, images=settings.fusion)
        self.semantic = nn.Linear(size, len(self.classes.base))
        text, owner = class_words(info, settings.vocabulary, self.name)
        self.head = TextHead(text, owner, settings.temperature, self.classes.base)
        last = self.decoder.to_class[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():  # embeddings start in the middle of the texts, which is as near to every class,
            last.weight *= 0.1  # or at what the cameras say
            last.bias.copy_(self.head.middle * (not self.decoder.shortcut))

    @full_precision
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """``loss`` and its weighted parts, means over frames and layers; see `Objective`."""
        image, seen = self.image(batch)
        feature, place = self._points(batch, features, image, seen)
        label, instance = given(batch.label), given(batch.instance)
        sums: dict[str, list[Tensor]] = {}
        for rows in frame_slices(batch):
            targets = find_segment_targets(
                label[rows],
                instance[rows],
                self.things,
                self.stuff,
                self.settings.min_points,
                everywhere=self.settings.unlabelled == "other" and self.settings.labels == "truth",
            )
            objective = Objective(
                self.settings, self.classes.base, self.stuff, targets, image[rows], seen[rows]
            )
            for layer, said in enumerate(self._decode(batch, rows, feature, place, image, seen)):
                logits = self.head(said.embedding) if layer else None
                for name, value in objective.layer(said, logits).items():
                    sums.setdefault(name, []).append(value)
        losses = {name: torch.stack(values).mean() for name, values in sums.items()}
        if self.settings.loss.semantic:
            losses["semantic"] = self.settings.loss.semantic * self._semantic(feature, label)
        # Connected to what came in, also where nothing is to be learned.
        return {"loss": torch.stack([features.sum() * 0, *losses.values()]).sum(), **losses}

    def predict(self, batch: Batch, features: Tensor, info: CacheInfo) -> Answer:
        """Segments of the points."""
        return Answer(segments=self.segments(batch, features))

    @full_precision
    def segments(self, batch: Batch, features: Tensor) -> Segments:
        """Segments of the points of a batch of one frame.

        Args:
            batch: with the fields of ``inputs``.
            features: (N, C) of the backbone.
        """
        image, seen = self.image(batch)
        feature, place = self._points(batch, features, image, seen)
        said = self._decode(batch, slice(None), feature, place, image, seen)[-1]
        logits = self.head(said.embedding)
        if self.settings.head == "unified":
            probability = logits.sigmoid() * self.allowed
        else:
            cosines = self.head.cosines(image_embedding(said.mask, image, seen))
            probability = ensemble(logits, cosines, self.classes.novel, self.allowed, self.settings.ensemble)
        look_mask, look_probability = self._looks(image, seen)
        return find_segments(
            torch.cat([look_mask, said.mask]),
            torch.cat([look_probability, probability]),
            len(look_mask) + self.settings.decoder.queries,
            self.thing,
            self.settings.inference,
        )

    def _looks(self, image: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of groups of like image features, and (G, C) probabilities: of novel stuff, or of nothing."""
        mask, look = look_masks(image, seen, self.looks)
        return mask, (self.head.cosines(look) / self.settings.ensemble.temperature).softmax(1) * self.looked

    def image(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Image features of the points: the mean over the views that fall in a region, as in `OpenScene`.

        Returns:
            (N, D) float32, L2-normalised, zeros where no camera sees a point; (N,) bool, whether any does.
        """
        fused, _ = fuse_views(batch, torch.float32)
        return normalize(fused, dim=1), fused.any(1)  # a region without pixels has a feature of zeros

    def _points(self, batch: Batch, features: Tensor, image: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.point_norm(features)
        if self.settings.fusion:
            shown = torch.where(seen[:, None], image * image.shape[1] ** 0.5, self.unseen)
            inputs = torch.cat([inputs, shown.to(inputs.dtype)], 1)
        feature, place = self.decoder.points(inputs, batch.xyz.to(inputs.dtype))
        return feature, place

    def _decode(
        self, batch: Batch, rows: slice, feature: Tensor, place: Tensor, image: Tensor, seen: Tensor
    ) -> list[Prediction]:
        """Of the frame in some rows. The queries of stuff classes are the weights that tell their points."""
        feature, place, xyz = feature[rows], place[rows], batch.xyz[rows]
        image, seen = image[rows], seen[rows]
        fixed = self.semantic.weight[[self.classes.base.index(c) for c in self.stuff]]
        with torch.no_grad():
            likely = self.semantic(feature).softmax(1)[:, [self.classes.base.index(c) for c in self.things]]
        look = image[:, : image.shape[1] * self.settings.fusion]
        seeds = thing_seeds(xyz, look, likely.sum(1), self.settings.decoder.seeds)
        # By differences, since points of one object are near each other and far from the sensor.
        away = torch.cdist(xyz[seeds], xyz, compute_mode="donot_use_mm_for_euclid_dist").to(feature.dtype)
        said: list[Prediction] = self.decoder(feature, place, fixed, Guide(seeds, away, image, seen))
        return said

    def _semantic(self, feature: Tensor, label: Tensor) -> Tensor:
        known = label != IGNORE
        if not known.any():
            return feature.sum() * 0
        logits = self.semantic(feature[known])
        column = torch.searchsorted(label.new_tensor(self.classes.base), label[known])
        return cross_entropy(logits, column) + lovasz_softmax(logits.softmax(1), column)


def frame_slices(batch: Batch) -> Iterator[slice]:
    """Rows of each frame that has any."""
    begin = 0
    for count in torch.bincount(batch.frame, minlength=batch.frames).tolist():
        if count:
            yield slice(begin, begin + count)
        begin += count


def _split(settings: PanopticSettings, taxonomy: Taxonomy) -> ClassSplit:
    ids = {spec.name: spec.id for spec in taxonomy.classes}
    if unknown := [name for name in settings.novel if name not in ids]:
        raise UserError(
            f"method panoptic: novel class {unknown[0]!r} is not a class of taxonomy {taxonomy.name}: "
            f"{', '.join(ids)}"
        )
    novel = tuple(sorted(ids[name] for name in settings.novel))
    base = tuple(c for c in ids.values() if c not in novel)
    if not base:
        raise UserError("method panoptic: every class is novel; leave at least one to learn from")
    return ClassSplit(settings.classes, base, novel)
