"""A small convolutional image encoder for `segment_anything.modeling.Sam`."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

#: Pixels per side of a cell of the embedding.
STRIDE = 8


class ConvEncoder(nn.Module):
    """A residual network with a feature pyramid, in the place of `ImageEncoderViT`.

    From few pictures a network that knows of neighbourhoods learns masks many times faster than a vision
    transformer, and its embedding, four times as fine, keeps small objects apart. EdgeSAM (Zhou et al. 2023,
    arXiv 2312.06660) puts a convolutional encoder before Sam's decoder, too. Residual blocks: He et al.
    2016; pyramid: Lin et al. 2017, arXiv 1612.03144.
    """

    def __init__(self, img_size: int, widths: Sequence[int], depths: Sequence[int], out_chans: int) -> None:
        """Random weights.

        Args:
            img_size: side of the square input, pixels; a multiple of 2 ** len(widths).
            widths: channels at strides 2, 4, 8, ...
            depths: residual blocks at these strides; at least three.
            out_chans: channels of the embedding.
        """
        super().__init__()
        self.img_size = img_size
        self.stages = nn.ModuleList()
        before = 3
        for width, depth in zip(widths, depths, strict=True):
            layers = [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            self.stages.append(nn.Sequential(*layers, *(_Block(width) for _ in range(depth))))
            before = width
        coarse = [width for k, width in enumerate(widths) if 2 ** (k + 1) >= STRIDE]
        self.laterals = nn.ModuleList(nn.Conv2d(width, out_chans, 1) for width in coarse)
        # Level of stride 4: its 2 x 2 cells come in as channels of one, lest thin things blur away.
        self.fine = nn.Conv2d(widths[1], out_chans, 2, 2, bias=False)
        self.merges = nn.ModuleList(_Block(out_chans) for _ in coarse)
        self.neck = nn.Sequential(nn.Conv2d(out_chans, out_chans, 1, bias=False), LayerNorm2d(out_chans))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised, padded below with zeros, to (B, out_chans, S / 8, S / 8).

        The padding costs nothing: its rows are left out and their embedding is zero.
        """
        side = images.shape[-1] // STRIDE
        rows = (images != 0).flatten(0, 1).any(dim=0).any(dim=1).nonzero()
        filled = int(rows.max()) + 1 if len(rows) else 1
        step = 2 ** len(self.stages)
        features = images[:, :, : -(-filled // step) * step]
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        coarse = levels[-len(self.laterals) :]
        merged: Tensor | None = None
        for lateral, merge, level in zip(
            reversed(self.laterals), reversed(self.merges), reversed(coarse), strict=True
        ):
            own = lateral(level)
            if merged is not None:
                own = own + F.interpolate(merged, scale_factor=2.0, mode="nearest")
            if level is coarse[0]:
                own = own + self.fine(levels[1])
            merged = merge(own)
        assert merged is not None
        out: Tensor = self.neck(merged)
        return F.pad(out, (0, 0, 0, side - out.shape[2]))


class _Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.body(features))
