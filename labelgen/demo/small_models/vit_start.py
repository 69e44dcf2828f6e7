"""How a small vision transformer starts out, so that it learns from thousands of crops and not millions.

Random patches and attention make a transformer find out first that neighbouring pixels belong together.
Here the patch embedding starts as a cosine transform, and each head of the self-attention starts by
looking at one neighbour of its patch: the layers begin as convolutions (Cordonnier et al. 2020,
arXiv 1911.03584; as a start for training: d'Ascoli et al. 2021, arXiv 2103.10697), and are free to become
anything else.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

#: Neighbours (dx, dy) that the heads look at first, one each.
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1), (0, 0))

#: Of the attention's logits for the right neighbour.
SHARPNESS = 1.5

#: Luminance and two differences of colours, orthonormal.
COLOURS = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))


def cosine_patches(size: int, channels: int, pixels: Tensor) -> Tensor:
    """Filters of a cosine transform of colour patches, lowest frequencies first.

    Args:
        size: pixels per side of a patch.
        channels: number of filters; those above 3 * size ** 2 are zero.
        pixels: (B, 3, H, W) examples; every filter's response to them gets deviation 1.

    Returns:
        (channels, 3, size, size).
    """
    k = torch.arange(size)
    waves = torch.cos(math.pi * (k[None] + 0.5) * k[:, None] / size)
    waves = waves / waves.norm(dim=1, keepdim=True)
    # Eyes and codecs see colours more coarsely than brightness, and so does this order.
    order = sorted(
        ((u + v) + (2.5 if colour else 0.0), abs(u - v), u, v, colour)
        for u in range(size)
        for v in range(size)
        for colour in range(3)
    )
    filters = torch.zeros(channels, 3, size, size)
    for number, (_, _, u, v, colour) in enumerate(order[:channels]):
        filters[number] = torch.tensor(COLOURS[colour])[:, None, None] * torch.outer(waves[u], waves[v])
    deviation = nn.functional.conv2d(pixels, filters, stride=size).std(dim=(0, 2, 3))
    return filters / deviation.clamp(min=1e-2)[:, None, None, None]


def position_codes(side: int, width: int) -> Tensor:
    """(side ** 2, width) waves over the patches' places; a shift of the place is a rotation of the code."""
    at = torch.arange(side, dtype=torch.float32)
    y, x = (
        value.flatten()[:, None] * _frequencies(side, width)
        for value in torch.meshgrid(at, at, indexing="ij")
    )
    return 2**0.5 * torch.cat([x.cos(), x.sin(), y.cos(), y.sin()], dim=1)


def shift_of_codes(side: int, width: int, dx: int, dy: int) -> Tensor:
    """(width, width) rotation that takes the code of (x, y) to that of (x + dx, y + dy)."""
    waves = width // 4
    turn = torch.zeros(width, width)
    for axis, step in enumerate((dx, dy)):
        angle = step * _frequencies(side, width)
        cosine, sine = axis * 2 * waves + torch.arange(waves), (axis * 2 + 1) * waves + torch.arange(waves)
        turn[cosine, cosine], turn[cosine, sine] = angle.cos(), -angle.sin()
        turn[sine, cosine], turn[sine, sine] = angle.sin(), angle.cos()
    return turn


@torch.no_grad()
def start_vision(vision: Any, pixels: Tensor) -> None:
    """Set the weights of a fresh `Blip2VisionModel`.

    The last channels, as many as a head has, hold the code of the place; the patch embedding writes to the
    others.

    Args:
        vision: the model; its heads' width is a multiple of 4.
        pixels: (B, 3, S, S) examples, normalised.
    """
    config = vision.config
    width, heads = config.hidden_size, config.num_attention_heads
    side, head = config.image_size // config.patch_size, width // heads
    embeddings = vision.embeddings
    embeddings.patch_embedding.weight.zero_()
    embeddings.patch_embedding.weight[:-head] = cosine_patches(config.patch_size, width - head, pixels)
    embeddings.patch_embedding.bias.zero_()
    embeddings.position_embedding.zero_()
    embeddings.position_embedding[0, 1:, -head:] = position_codes(side, head)
    for layer in vision.encoder.layers:
        weight = layer.self_attn.qkv.weight
        weight[: 2 * width] *= 0.3
        for number, (dx, dy) in zip(range(heads), NEIGHBOURS, strict=False):
            query, key = (weight[begin : begin + head] for begin in (number * head, width + number * head))
            query[:, -head:] += SHARPNESS**0.5 * shift_of_codes(side, head, dx, dy)
            key[:, -head:] += SHARPNESS**0.5 * torch.eye(head)
        for writer in (layer.self_attn.projection, layer.mlp.fc2):
            writer.weight[-head:] *= 0.1  # the place is overwritten slowly


def _frequencies(side: int, width: int) -> Tensor:
    return 2 * math.pi * torch.arange(1, width // 4 + 1) / (1.5 * side)
