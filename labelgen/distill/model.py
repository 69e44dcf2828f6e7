"""A backbone with a method's heads: what is trained, saved, and asked for class scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from labelgen.distill.backbones import Backbone
from labelgen.distill.batch import Batch
from labelgen.distill.config import TrainConfig
from labelgen.distill.methods import CacheInfo, Method
from labelgen.distill.methods.answer import Answer
from labelgen.distill.registry import METHODS, make_backbone, make_method


class Model(nn.Module):
    """What one step computes: a batch in, losses out; one module, so that it can be wrapped for many GPUs.

    Args:
        backbone: 3D network.
        method: heads and losses.
        frozen: the backbone is left as it is, in evaluation mode (linear probe).
    """

    def __init__(self, backbone: Backbone, method: Method, frozen: bool = False) -> None:
        super().__init__()
        self.backbone, self.method, self.frozen = backbone, method, frozen
        if frozen:
            backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Model:
        """As in `torch.nn.Module`; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch; see `Method.forward`."""
        losses: dict[str, Tensor] = self.method(batch, self.features(batch))
        return losses

    def features(self, batch: Batch) -> Tensor:
        """(N, width) of the backbone."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features: Tensor = self.backbone(batch)
        return features

    def predict(self, batch: Batch, info: CacheInfo) -> Answer:
        """What the network says of the points of one frame; see `Method.predict`."""
        return self.method.predict(batch, self.features(batch), info)


def make_model(config: TrainConfig, info: CacheInfo) -> Model:
    """Make a model with random weights.

    Raises:
        UserError: unknown names or settings, or the run lacks what the method needs.
    """
    backbone = make_backbone(config.backbone, config.backbone_settings)
    method = make_method(config.method, config.settings, backbone.width, info)
    return Model(backbone, method, METHODS[config.method].frozen)


def parameter_groups(model: Model, config: TrainConfig) -> Iterator[dict[str, Any]]:
    """Parameters with what scales their learning rate: ``scale``, and their own ``weight_decay``.

    The heads have ``head_rate``, the backbone's last layer 1, each layer before it ``layer_decay`` times that
    of the next. Vectors (norms, scales, biases) are not decayed.
    """
    optimizer = config.optimizer
    parts = [
        (layer, optimizer.layer_decay**depth) for depth, layer in enumerate(reversed(model.backbone.layers))
    ]
    for part, scale in [(model.method, optimizer.head_rate), *parts]:
        for decayed in (True, False):
            chosen = [p for p in part.parameters() if p.requires_grad and (p.ndim > 1) == decayed]
            if chosen:
                decay = optimizer.weight_decay if decayed else 0.0
                yield {"params": chosen, "scale": scale, "weight_decay": decay}
