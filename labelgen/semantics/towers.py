"""The image towers of open_clip cut open before their end: what each gives per cell of a grid.

A CLIP puts images, not patches, into the texts' space. Which of its parts do so for patches, too, depends on
how the tower ends; each class here knows one kind of end.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.models.convnext import ConvNeXt
from torch import Tensor

from labelgen.semantics.modes import AVERAGED, RESNET, VIT, Family


class Tower(Protocol):
    """One kind of image tower.

    Attributes:
        family: which modes it has.
        cell: pixels of the input per cell.
        window: side of the square input, pixels; None if any multiple of ``cell`` will do.
        side: of the images that it was trained on, pixels.
    """

    family: Family
    cell: int
    window: int | None
    side: int

    def plain(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pixels to (B, h, w, C): the cells as the tower computes them."""
        ...

    def plain_head(self, tokens: Tensor) -> Tensor:
        """(..., C) cells, or means of cells, to (..., D) in the texts' space."""
        ...


class AttentionTower(Tower, Protocol):
    """A tower with an attention at its end."""

    def attention(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, heads, h, w, d) keys and values of the last attention."""
        ...

    def attention_head(self, mixed: Tensor) -> Tensor:
        """(..., heads x d) mixtures of values to (..., D) in the texts' space."""
        ...


def make_tower(visual: Any) -> Tower | None:
    """The kind of an open_clip model's ``visual``; None if its patches are not in the texts' space."""
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        if type(visual.transformer.resblocks[-1]) is not ResidualAttentionBlock:
            return None
        return {"tok": Vit, "avg": AveragedVit}.get(visual.pool_type, lambda _: None)(visual)
    if isinstance(visual, ModifiedResNet):
        return AttentionPooledResNet(visual)
    if isinstance(visual, TimmModel) and isinstance(visual.trunk, ConvNeXt):
        return ConvNext(visual) if not hasattr(visual.head, "pool") else None
    return None


class Vit:
    """A vision transformer whose class token is the image's feature."""

    family = VIT

    def __init__(self, visual: VisionTransformer) -> None:
        self.visual = visual
        self.cell = int(visual.patch_size[0])
        self.side = int(visual.image_size[0])
        self.window: int | None = self.side
        self.last: Any = visual.transformer.resblocks[-1]
        self.heads = int(self.last.attn.num_heads)

    def before_last(self, pixels: Tensor) -> Tensor:
        """(B, 1 + N, C) tokens that go into the last block, the class token first."""
        out = self.visual.forward_intermediates(
            pixels,
            indices=[len(self.visual.transformer.resblocks) - 2],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat([out["image_intermediates_prefix"][0], out["image_intermediates"][0]], dim=1)

    def plain(self, pixels: Tensor) -> Tensor:
        """The last block's own patches, normalised: no surgery."""
        return self._on_grid(self.visual.ln_post(self.last(self.before_last(pixels))[:, 1:]), pixels)

    def plain_head(self, tokens: Tensor) -> Tensor:
        """The projection."""
        projected: Tensor = tokens @ self.visual.proj
        return projected

    def attention(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the last block's patches."""
        attn = self.last.attn
        patches = self.last.ln_1(self.before_last(pixels)[:, 1:])
        C = patches.shape[-1]  # the first C rows make queries
        key, value = F.linear(patches, attn.in_proj_weight[C:], attn.in_proj_bias[C:]).chunk(2, dim=-1)
        key, value = self._on_grid(key, pixels), self._on_grid(value, pixels)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def attention_head(self, mixed: Tensor) -> Tensor:
        """Output projection, last normalisation, projection; the residual and the MLP are left out.

        Both carry what the image as a whole is about into every patch (Lan et al. 2024, ClearCLIP,
        arXiv 2407.12442, section 3).
        """
        projected: Tensor = (
            self.visual.ln_post(self.last.ls_1(self.last.attn.out_proj(mixed))) @ self.visual.proj
        )
        return projected

    def _on_grid(self, patches: Tensor, pixels: Tensor) -> Tensor:
        """(B, N, C) patches of an input to (B, h, w, C)."""
        h, w = pixels.shape[2] // self.cell, pixels.shape[3] // self.cell
        return patches.reshape(len(patches), h, w, patches.shape[-1])


class AveragedVit(Vit):
    """A vision transformer whose image feature is the mean of its patches: they need no surgery."""

    family = AVERAGED

    def plain(self, pixels: Tensor) -> Tensor:
        """The last block's own patches, normalised if they are before they are averaged."""
        tokens = self.last(self.before_last(pixels))[:, 1:]
        tokens = tokens if self.visual.final_ln_after_pool else self.visual.ln_post(tokens)
        return self._on_grid(tokens, pixels)

    def plain_head(self, tokens: Tensor) -> Tensor:
        """What comes after the mean."""
        tokens = self.visual.ln_post(tokens) if self.visual.final_ln_after_pool else tokens
        projected: Tensor = tokens @ self.visual.proj
        return projected


class AttentionPooledResNet:
    """OpenAI's ResNet, whose attention pool is a last attention like a transformer's; the small demo model.

    Values go through the pool's projections as in MaskCLIP (Zhou et al. 2022, section 3.2), without
    positions: these are places in a whole image of the training's size.
    """

    family = RESNET
    cell = 16
    window: int | None = None

    def __init__(self, visual: ModifiedResNet) -> None:
        self.visual = visual
        size = visual.image_size
        self.side = int(size if isinstance(size, int) else size[0])
        self.pool = visual.attnpool
        value, output = self.pool.v_proj, self.pool.c_proj
        with torch.no_grad():  # of one cell alone, both projections are one
            self.weight = output.weight @ value.weight
            self.bias = output.weight @ value.bias + output.bias

    def plain(self, pixels: Tensor) -> Tensor:
        """Cells of the last stage.

        The stage's pooling by two is left out and its later convolutions are spread instead ("a trous"): the
        same numbers on a grid twice as fine. Its cells then lie half a cell further right and down, which
        the border of half a cell takes back.
        """
        visual, half = self.visual, self.cell // 2
        out: Tensor = visual.stem(F.pad(pixels, (half, half, half, half), mode="replicate"))
        out = visual.layer3(visual.layer2(visual.layer1(out)))
        for block in visual.layer4:
            out = _spread(block, out)
        return out[:, :, :-1, :-1].permute(0, 2, 3, 1)

    def plain_head(self, tokens: Tensor) -> Tensor:
        """The attention pool of one cell alone."""
        return F.linear(tokens, self.weight, self.bias)

    def attention(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the attention pool."""
        tokens, heads = self.plain(pixels), self.pool.num_heads
        return split_heads(self.pool.k_proj(tokens), heads), split_heads(self.pool.v_proj(tokens), heads)

    def attention_head(self, mixed: Tensor) -> Tensor:
        """The pool's output projection."""
        projected: Tensor = self.pool.c_proj(mixed)
        return projected


class ConvNext:
    """A ConvNeXt with mean pooling: a mask takes the whole image's place (Yu et al. 2023, FC-CLIP, 3.3)."""

    family = AVERAGED
    cell = 32
    window: int | None = None

    def __init__(self, visual: TimmModel) -> None:
        self.visual = visual
        self.side = int(visual.image_size[0])

    def plain(self, pixels: Tensor) -> Tensor:
        """Cells of the last stage."""
        cells: Tensor = self.visual.trunk.forward_features(pixels).permute(0, 2, 3, 1)
        return cells

    def plain_head(self, tokens: Tensor) -> Tensor:
        """What follows the mean: normalisation and projection."""
        rows = tokens.reshape(-1, tokens.shape[-1], 1, 1)
        projected: Tensor = self.visual.head(self.visual.trunk.forward_head(rows))
        return projected.reshape(*tokens.shape[:-1], projected.shape[-1])


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, h, w, C) to (B, heads, h, w, C / heads)."""
    return tokens.reshape(*tokens.shape[:-1], heads, -1).permute(0, 3, 1, 2, 4)


def _spread(block: Any, x: Tensor) -> Tensor:
    """A block of the last stage at twice its resolution: every other row and column are the block's own."""
    out = block.act1(block.bn1(block.conv1(x)))
    if block.stride == 1:  # its input is spread already
        out = F.conv2d(out, block.conv2.weight, padding=2, dilation=2)
        shortcut = x if block.downsample is None else block.downsample(x)
        out = block.act2(block.bn2(out))
    else:
        out = _mean_of_next(block.act2(block.bn2(block.conv2(out))), block.stride)
        pooled = _mean_of_next(x, block.stride)
        shortcut = block.downsample[2](block.downsample[1](pooled))
    return block.act3(block.bn3(block.conv3(out)) + shortcut)


def _mean_of_next(x: Tensor, stride: int) -> Tensor:
    """Mean pooling without stride: of each cell and those right of and below it."""
    return F.avg_pool2d(F.pad(x, (0, stride - 1, 0, stride - 1), mode="replicate"), stride, 1)
