"""Decodes many prompts on one image: what Sam's mask decoder computes, in another order.

Sam's decoder repeats the image's embedding for every prompt and projects it again and again. A prompt has few
tokens (seven for a point), so the projections can be moved to the tokens: q . (W x) = (W^T q) . x, and
sum_i a_i (W x_i) = W sum_i a_i x_i. No projection of the image is left, and before its first update the image
is one matrix for all prompts. The predicted scores are known before the masks are, so masks are upscaled only
for prompts that pass. The results are equal but for rounding.

Works on the weights of `segment_anything.modeling.MaskDecoder` (Kirillov et al. 2023, arXiv 2304.02643,
appendix A) and of SAM 2's (Ravi et al. 2024, arXiv 2408.00714), which adds finer features while upscaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Decoded(NamedTuple):
    """Masks of a batch of prompts that passed.

    Attributes:
        logits: (M, w, h) low-resolution logits, columns first: logits[m, x, y]. Of the columns and rows that
            were asked for.
        score: (M,) float32 predicted IoU.
    """

    logits: Tensor
    score: Tensor


@dataclass(frozen=True)
class DecoderParts:
    """The modules of a mask decoder, under names that Sam and SAM 2 share.

    Attributes:
        tokens: (1 + m, C) or (2 + m, C), output tokens in the decoder's order; m masks.
        iou_token: index of the score's token; those of the masks follow it.
        layers: blocks of the two-way transformer, as (self, token to image, image to token) attentions,
            the multilayer perceptron and the four norms.
        final, final_norm: last attention of the tokens to the image, and its norm.
        upscale: first transposed convolution, norm, second transposed convolution.
        hypernetworks: one per mask.
        iou_head: gives the scores.
    """

    tokens: Tensor
    iou_token: int
    layers: tuple[_Layer, ...]
    final: _Attention
    final_norm: nn.Module
    upscale: tuple[Any, ...]
    hypernetworks: Sequence[nn.Module]
    iou_head: nn.Module


class _Layer(NamedTuple):
    self_attention: _Attention
    to_image: _Attention
    from_image: _Attention
    mlp: nn.Module
    norms: tuple[nn.Module, ...]


class PromptDecoder:
    """Decodes prompts on one image at a time."""

    def __init__(self, parts: DecoderParts) -> None:
        self.parts = parts

    def __call__(
        self,
        image: Tensor,
        position: Tensor,
        prompts: Tensor,
        *,
        min_score: float,
        multimask: bool = True,
        cells: tuple[int, int],
        finer: tuple[Tensor, Tensor] | None = None,
    ) -> Decoded:
        """Decode.

        Args:
            image: (C, h, w) embedding, the dense prompt's already added.
            position: (C, h, w) positional encoding of its cells.
            prompts: (P, T, C) embedded prompts.
            min_score: masks with this predicted IoU or less are left out; 0 or less keeps all.
            multimask: give the masks after the first; else the first alone.
            cells: rows and columns of the embedding that masks are wanted of, from the top left.
            finer: SAM 2's features at two and four times the embedding's size, (C / 4, 2 h, 2 w) and
                (C / 8, 4 h, 4 w).

        Raises:
            ValueError: the predicted scores are not numbers.
        """
        parts = self.parts
        height, width = image.shape[1:]
        output = parts.tokens.expand(len(prompts), -1, -1)
        tokens = torch.cat([output, prompts.to(output.dtype)], dim=1)
        queries, keys = self._transform(tokens, *(part.flatten(1).T[None] for part in (image, position)))

        score = parts.iou_head(queries[:, parts.iou_token]).float()
        if not torch.isfinite(score).all():
            raise ValueError(
                "the network's scores are not numbers: its weights are damaged, or do not work in "
                "reduced precision (regions.precision=float32)"
            )
        wanted = slice(1, None) if multimask else slice(0, 1)
        score = score[:, wanted]
        passed = score > min_score if min_score > 0 else torch.ones_like(score, dtype=torch.bool)
        rows = passed.any(dim=1).nonzero().squeeze(1)
        if len(rows) == 0:
            return Decoded(score.new_zeros(0, 4 * cells[1], 4 * cells[0]), score[passed])
        masks = queries[rows, parts.iou_token + 1 :][:, : len(parts.hypernetworks)][:, wanted]
        hyper = torch.stack([net(masks[:, k]) for k, net in enumerate(parts.hypernetworks[wanted])], dim=1)
        field = keys.view(-1, height, width, keys.shape[-1])[rows, : cells[0], : cells[1]]
        return Decoded(self._upscale(field, hyper, passed[rows], finer), score[passed])

    def _transform(self, tokens: Tensor, keys: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """The two-way transformer: (P, T, C) tokens and (1, hw, C) cells to (P, T, C) and (P, hw, C)."""
        queries, placed = tokens, keys + position
        for number, layer in enumerate(self.parts.layers):
            if number == 0:  # the first layer has no positions of tokens yet
                queries = layer.self_attention(queries, queries, queries)
            else:
                query = queries + tokens
                queries = queries + layer.self_attention(query, query, queries)
            queries = layer.norms[0](queries)
            queries = layer.norms[1](queries + layer.to_image.gather(queries + tokens, placed, keys))
            queries = layer.norms[2](queries + layer.mlp(queries))
            keys = layer.norms[3](layer.from_image.spread(keys, placed, queries + tokens, queries))
            placed = keys + position
        found = self.parts.final.gather(queries + tokens, placed, keys)
        return self.parts.final_norm(queries + found), keys

    def _upscale(
        self, field: Tensor, hyper: Tensor, passed: Tensor, finer: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """(P, h, w, C) cells and (P, m, c) mask vectors to (M, 4 w, 4 h) logits of the M passed of (P, m).

        A transposed convolution with kernel and stride 2 gives each cell four cells of its own: a product of
        matrices, with all cells apart until the logits are put in their places.
        """
        first, norm, second = self.parts.upscale
        P, h, w, _ = field.shape
        near = _split(field, first).view(P, h, w, 2, 2, -1)
        if finer is not None:
            near = near + _blocks(finer[0], h, w, 1)
        near = F.gelu(F.layer_norm(near, near.shape[-1:], norm.weight, norm.bias, norm.eps))
        near = _split(near, second).view(P, h, w, 2, 2, 2, 2, -1)
        if finer is not None:
            near = near + _blocks(finer[1], h, w, 2)
        near = F.gelu(near).view(P, h * w * 16, -1)
        logits = (hyper @ near.transpose(1, 2))[passed].float().view(-1, h, w, 2, 2, 2, 2)
        return logits.permute(0, 2, 4, 6, 1, 3, 5).reshape(-1, 4 * w, 4 * h)


class _Attention:
    """One attention layer (Vaswani et al. 2017), its projections moved to the side with few tokens."""

    def __init__(self, module: Any, out: nn.Linear) -> None:
        self.heads: int = module.num_heads if hasattr(module, "num_heads") else module.num_attention_heads
        self.q: nn.Linear = module.q_proj
        self.k: nn.Linear = module.k_proj
        self.v: nn.Linear = module.v_proj
        self.out = out
        self.scale = (self.q.out_features // self.heads) ** -0.5

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Among few tokens: (P, T, C) each."""
        q, k, v = (
            self._heads(project(x)).transpose(1, 2)
            for project, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        mixed: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed

    def gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """From many cells to few tokens.

        Args:
            query: (P, T, C).
            key: (1 or P, hw, C), before any projection.
            value: of the same shape.

        Returns:
            (P, T, C). The key's bias is left out: it changes all weights of a token alike.
        """
        P, T, C = query.shape
        moved = torch.einsum("ptne,nec->pntc", self._heads(self.q(query)), self._by_head(self.k.weight))
        moved = moved.reshape(P, self.heads * T, C) * self.scale
        weight = _product(moved, key.transpose(1, 2)).softmax(dim=-1)
        pooled = _product(weight, value).view(P, self.heads, T, C)
        mixed = torch.einsum("pntc,nec->ptne", pooled, self._by_head(self.v.weight)).flatten(2)
        found: Tensor = self.out(mixed + self.v.bias)
        return found

    def spread(self, cells: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """From few tokens to many cells, added to them.

        Args:
            cells: (1 or P, hw, C), what the result is added to.
            query: (1 or P, hw, C), before any projection.
            key: (P, T, C).
            value: (P, T, C).

        Returns:
            (P, hw, C).
        """
        P, T, C = key.shape
        k, v = self._heads(self.k(key)) * self.scale, self._heads(self.v(value))
        moved = torch.einsum("ptne,nec->pntc", k, self._by_head(self.q.weight)).reshape(P, -1, C)
        bias = torch.einsum("ptne,ne->pnt", k, self.q.bias.view(self.heads, -1))
        weight = _product(moved, query.transpose(1, 2)).view(P, self.heads, T, -1)
        weight = (weight + bias[..., None]).softmax(dim=2).flatten(1, 2)
        given = torch.einsum("ptne,cne->pntc", v, self.out.weight.view(C, self.heads, -1))
        given[:, 0] += self.out.bias  # the weights of a head sum to one
        return (weight.transpose(1, 2) @ given.reshape(P, -1, C)).add_(cells)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1)

    def _by_head(self, weight: Tensor) -> Tensor:
        return weight.view(self.heads, -1, weight.shape[1])


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Batched product; one right side may serve for all."""
    return left @ (right[0] if len(right) == 1 else right)


def _split(field: Tensor, convolution: nn.ConvTranspose2d) -> Tensor:
    """(..., C) cells to (..., 4 c): a transposed convolution with kernel and stride 2, unplaced."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert convolution.bias is not None
    return F.linear(field, weight, convolution.bias.repeat(4))


def _blocks(features: Tensor, h: int, w: int, doublings: int) -> Tensor:
    """(c, H, W) finer features as (h, w, 2, 2, ..., c): the cells that lie in each of h x w coarse ones."""
    side = 2**doublings
    c = len(features)
    features = features[:, : h * side, : w * side].reshape(c, h, *[2] * doublings, w, *[2] * doublings)
    rows, columns = range(2, 2 + doublings), range(3 + doublings, 3 + 2 * doublings)
    inner = [axis for pair in zip(rows, columns, strict=True) for axis in pair]
    return features.permute(1, 2 + doublings, *inner, 0)


def decoder_parts(decoder: Any) -> DecoderParts:
    """Parts of a Sam's ``MaskDecoder``, or of a SAM 2's as transformers names them."""
    second = hasattr(decoder, "obj_score_token")
    norm, transformer = ("layer_norm" if second else "norm"), decoder.transformer

    def attention(module: Any) -> _Attention:
        return _Attention(module, module.o_proj if second else module.out_proj)

    first = [decoder.obj_score_token.weight] if second else []
    return DecoderParts(
        tokens=torch.cat([*first, decoder.iou_token.weight, decoder.mask_tokens.weight]),
        iou_token=len(first),
        layers=tuple(
            _Layer(
                attention(layer.self_attn),
                attention(layer.cross_attn_token_to_image),
                attention(layer.cross_attn_image_to_token),
                layer.mlp,
                tuple(getattr(layer, f"{norm}{number}") for number in (1, 2, 3, 4)),
            )
            for layer in transformer.layers
        ),
        final=attention(transformer.final_attn_token_to_image),
        final_norm=getattr(transformer, "layer_norm_final_attn" if second else "norm_final_attn"),
        upscale=(
            (decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2)
            if second
            else tuple(decoder.output_upscaling[number] for number in (0, 1, 3))
        ),
        hypernetworks=decoder.output_hypernetworks_mlps,
        iou_head=decoder.iou_prediction_head,
    )
