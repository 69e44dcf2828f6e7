"""The query decoder: queries look at the points of their masks, in layers, and say masks and classes.

After P3Former (Xiao et al., "Position-Guided Point Cloud Panoptic Segmentation Transformer"); the update of a
query by what its mask holds is K-Net's (Zhang et al., NeurIPS 2021, section 3.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from labelgen.distill.settings.panoptic import DecoderSettings


@dataclass(frozen=True)
class Prediction:
    """What the queries say of one frame of P points after a layer; the Q - S learned ones come first.

    Attributes:
        mask: (Q, P) logits.
        place: (Q, P) logits of what of the masks comes from positions alone.
        embedding: (Q, D) class embeddings, of any length.
    """

    mask: Tensor
    place: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class Guide:
    """What a frame's own points tell the learned queries; P points.

    Attributes:
        seeds: (S,) int64 points that the first learned queries start from.
        away: (S, P) distance of all points from the seeds, metres.
        image: (P, D) L2-normalised image features.
        seen: (P,) bool, points that have one.
    """

    seeds: Tensor
    away: Tensor
    image: Tensor
    seen: Tensor


class Decoder(nn.Module):
    """Learned queries and one fixed query per stuff class over the points of one frame.

    Args:
        settings: size.
        inputs: width of what points bring along.
        out: D of the class embeddings.
        images: whether it may look at image features, beside what is in the inputs.
    """

    def __init__(self, settings: DecoderSettings, inputs: int, out: int, images: bool) -> None:
        super().__init__()
        width = settings.width
        self.enter = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU())
        self.positions = Positions(settings)
        self.share = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())
        self.queries = nn.Parameter(torch.randn(settings.queries, width))
        self.seed = nn.Linear(width, width) if settings.seeds else None
        self.fade = nn.Linear(width, 1) if settings.seeds and settings.reach else None
        if self.fade is not None:
            nn.init.zeros_(self.fade.weight)
            nn.init.constant_(self.fade.bias, math.log(math.expm1(1 / settings.reach)))  # softplus: 1 / reach
        self.shortcut = settings.shortcut and images
        self.layers = nn.ModuleList(Layer(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)
        self.to_mask, self.to_place = _mlp(width, width, 4), _mlp(width, width, 4)
        self.to_class = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out))

    def points(self, inputs: Tensor, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """What queries look at.

        Args:
            inputs: (N, inputs) of the points.
            xyz: (N, 3) metres.

        Returns:
            (N, width) features, positions added, and (N, width) positions alone.
        """
        place: Tensor = self.share(self.positions(xyz))
        return self.share(self.enter(inputs)) + place, place

    def forward(self, feature: Tensor, place: Tensor, fixed: Tensor, guide: Guide) -> list[Prediction]:
        """Predictions before the first layer and after each.

        Args:
            feature: (P, width) of `points`, of one frame.
            place: (P, width) of `points`.
            fixed: (S, width) queries of the stuff classes.
            guide: where learned queries start, and what masks and classes lean on.
        """
        learned: Tensor = self.queries
        if self.seed is not None:
            count = len(guide.seeds)
            learned = torch.cat([learned[:count] + self.seed(feature[guide.seeds]), learned[count:]])
        query = torch.cat([learned, fixed])
        predictions = [self._say(query, feature, place, guide)]
        for layer in self.layers:
            query = layer(query, feature, predictions[-1].mask.detach() > 0)
            predictions.append(self._say(query, feature, place, guide))
        return predictions

    def _say(self, query: Tensor, feature: Tensor, place: Tensor, guide: Guide) -> Prediction:
        query = self.norm(query)
        from_place = self.to_place(query) @ place.T
        mask = self.to_mask(query) @ feature.T + from_place
        if self.fade is not None:
            count = len(guide.seeds)
            fading = (guide.away * nn.functional.softplus(self.fade(query[:count]))).square()
            mask = torch.cat([mask[:count] - fading, mask[count:]])
        embedding = self.to_class(query)
        if self.shortcut:  # of the learned queries: the others are of a class from the start
            count = len(self.queries)
            look = mean_look(mask[:count].detach(), guide.image, guide.seen).to(embedding.dtype)
            embedding = torch.cat([embedding[:count] + look, embedding[count:]])
        return Prediction(mask, from_place, embedding)


def mean_look(mask: Tensor, image: Tensor, seen: Tensor) -> Tensor:
    """(Q, D) L2-normalised mean image feature in each hard mask; zeros where a mask has no seen point.

    Args:
        mask: (Q, P) logits.
        image: (P, D) features.
        seen: (P,) bool, points that have one.
    """
    inside = (mask[:, seen] > 0).to(image.dtype)
    return nn.functional.normalize(inside @ image[seen], dim=1)


class Positions(nn.Module):
    """P3Former's mixed encoding of positions, Cartesian and polar, here with Fourier features of both."""

    span: Tensor

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.register_buffer("span", torch.tensor(settings.span), persistent=False)
        self.frequencies = settings.frequencies
        width, inputs = settings.width, 3 * (1 + 2 * settings.frequencies)
        self.cartesian = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width))
        self.polar = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width))

    def forward(self, xyz: Tensor) -> Tensor:
        """(N, 3) metres to (N, width)."""
        x, y, z = (xyz / self.span).unbind(1)
        polar = torch.stack([torch.hypot(x, y), torch.atan2(y, x) / torch.pi, z], 1)
        cartesian = torch.stack([x, y, z], 1)
        out: Tensor = self.cartesian(self._waves(cartesian)) + self.polar(self._waves(polar))
        return out

    def _waves(self, x: Tensor) -> Tensor:
        angles = [x * (torch.pi * 2**k) for k in range(self.frequencies)]
        return torch.cat([x, *(wave(angle) for angle in angles for wave in (torch.sin, torch.cos))], 1)


class Layer(nn.Module):
    """Masked attention, attention between the queries, feed-forward."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        width = settings.width
        self.update = Update(width)
        self.between = nn.MultiheadAttention(width, settings.heads, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.feed = nn.Sequential(
            nn.Linear(width, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, width)
        )

    def forward(self, query: Tensor, feature: Tensor, inside: Tensor) -> Tensor:
        """(Q, width) queries, (P, width) points and (Q, P) bool hard masks to new queries."""
        held = inside.to(feature.dtype)
        # The mean, not P3Former's sum: it is the same for a car of ten points and a road of ten thousand.
        query = self.update(query, held @ feature / held.sum(1, keepdim=True).clamp_min(1))
        mixed, _ = self.between(query[None], query[None], query[None], need_weights=False)
        query = self.norms[0](query + mixed[0])
        out: Tensor = self.norms[1](query + self.feed(query))
        return out


class Update(nn.Module):
    """K-Net's adaptive update: gates say how much of the query and of what its mask holds is kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.from_query, self.from_mask = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.leave = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())

    def forward(self, query: Tensor, held: Tensor) -> Tensor:
        """(Q, width) queries and (Q, width) means over their masks to (Q, width)."""
        query_gate, old = self.from_query(query).chunk(2, 1)
        mask_gate, new = self.from_mask(held).chunk(2, 1)
        both = query_gate * mask_gate
        keep, take = (gate(both).sigmoid() for gate in self.gates)
        out: Tensor = self.leave(take * self.norms[0](new) + keep * self.norms[1](old))
        return out


def _mlp(width: int, out: int, layers: int) -> nn.Sequential:
    hidden = [(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU()) for _ in range(layers - 1)]
    return nn.Sequential(*(part for parts in hidden for part in parts), nn.Linear(width, out))
