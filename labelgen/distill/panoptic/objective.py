"""Matching of queries with objects, and the losses of one frame at every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from labelgen.distill.losses.masks import class_cost, dice, dice_cost, focal, focal_cost
from labelgen.distill.losses.pooling import mean
from labelgen.distill.losses.vision_language import object_distance, voxel_distance
from labelgen.distill.panoptic.decoder import Prediction
from labelgen.distill.panoptic.segment_targets import SegmentTargets
from labelgen.distill.settings.panoptic import PanopticSettings


def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Give each object a query of its own so that the sum of costs is lowest (Kuhn 1955).

    Args:
        cost: (Q, G), finite.

    Returns:
        (M,) queries and (M,) objects, M = min(Q, G).
    """
    query, thing = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.from_numpy(query).to(cost.device), torch.from_numpy(thing).to(cost.device)


@dataclass(frozen=True)
class Objective:
    """The losses of one frame, by layer.

    Attributes:
        settings: weights of losses and costs.
        base: train ids of the base classes, ascending: no other class's logits reach a loss.
        stuff: train ids of the fixed queries' classes, which follow the learned ones.
        targets: of the frame.
        image: (n, D) L2-normalised image features of its points.
        seen: (n,) bool, points that have one.
    """

    settings: PanopticSettings
    base: Sequence[int]
    stuff: Sequence[int]
    targets: SegmentTargets
    image: Tensor
    seen: Tensor

    def layer(self, said: Prediction, logits: Tensor | None) -> dict[str, Tensor]:
        """Weighted parts of the loss of one layer.

        Args:
            said: of the layer.
            logits: (Q, C) of the classes; None before the first layer, where masks alone are matched.

        Returns:
            ``mask``, ``dice``, ``place``, ``apart``, and with logits ``class``, ``object``, ``voxel``.
        """
        weight, kind, targets = self.settings.loss, self.settings.focal, self.targets
        learned = len(said.mask) - len(self.stuff)
        mask = said.mask[:learned, targets.rows]
        query, thing = self._match(mask, None if logits is None else logits[:learned])
        free = torch.ones(learned, dtype=torch.bool, device=query.device).index_fill_(0, query, False)
        asked = (  # of which queries, on which points
            (query, targets.rows, targets.thing_mask[thing].to(mask.dtype)),
            (learned + targets.stuff, targets.stuff_rows, targets.stuff_mask.to(mask.dtype)),
        )
        query = torch.cat([query, learned + targets.stuff])

        def of_each(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
            return mean(torch.cat([loss(logits[some][:, rows], wanted) for some, rows, wanted in asked]))

        parts = {
            "mask": weight.mask
            * of_each(lambda m, wanted: focal(m, wanted, kind.mask_gamma, kind.alpha).mean(1), said.mask),
            "dice": weight.dice * of_each(dice, said.mask),
            "place": weight.position * of_each(dice, said.place),
        }
        if weight.apart:
            parts["apart"] = weight.apart * mean(mask[free].sigmoid().sum(0))
        if logits is None:
            return parts
        known = logits[:, list(self.base)]
        classes = torch.cat([targets.thing[thing], targets.stuff.new_tensor(self.stuff)[targets.stuff]])
        truth = torch.zeros_like(known)
        truth[query, torch.searchsorted(classes.new_tensor(self.base), classes)] = 1
        total = focal(known, truth, kind.class_gamma, kind.alpha).sum()
        parts["class"] = weight.classes * total / max(1, len(query))
        seen, image = self.seen, self.image[self.seen]
        if weight.object:
            # What the mask holds is a target: masks are not to be bent towards features that fit.
            held = said.mask[query][:, seen].detach().sigmoid()
            parts["object"] = weight.object * object_distance(said.embedding[query], held, image)
        if weight.voxel:
            score = said.mask[:, seen].sigmoid()
            parts["voxel"] = weight.voxel * voxel_distance(said.embedding, score, image)
        return parts

    @torch.no_grad()
    def _match(self, mask: Tensor, logits: Tensor | None) -> tuple[Tensor, Tensor]:
        weight, kind, targets = self.settings.cost, self.settings.focal, self.targets
        wanted = targets.thing_mask.to(mask.dtype)
        cost = weight.mask * focal_cost(mask, wanted, kind.mask_gamma, kind.alpha)
        cost += weight.dice * dice_cost(mask, wanted)
        if logits is not None:
            cost += weight.classes * class_cost(logits, targets.thing, kind.class_gamma, kind.alpha)
        return match(cost.nan_to_num(1e4, 1e4, -1e4))  # the loop stops on losses that are not finite
