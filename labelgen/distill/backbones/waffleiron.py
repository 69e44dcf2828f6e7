"""WaffleIron (Puy, Boulch and Marlet, ICCV 2023) in plain PyTorch: mixing of tokens on 2D grids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelgen.distill.backbones.base import Backbone
from labelgen.distill.backbones.embedding import Embedding
from labelgen.distill.backbones.planes import Plane, flatten, inflate, make_plane
from labelgen.distill.batch import Batch
from labelgen.distill.settings.backbones import WaffleIronSettings

#: Axes of the planes, which the layers take in turn.
PLANES = ((0, 1), (0, 2), (1, 2))


class WaffleIron(Backbone):
    """Tokens of all points, mixed by 3x3 convolutions on the planes xy, xz, yz in turn and by channel.

    Args:
        settings: size and grid.
    """

    def __init__(self, settings: WaffleIronSettings) -> None:
        super().__init__()
        self.width, self.neighbours = settings.width, settings.neighbours
        self.bounds = (settings.low, settings.high)
        self.cell = settings.cell
        self.register_buffer("low", torch.tensor(settings.low), persistent=False)
        extent = [high - low for low, high in zip(settings.low, settings.high, strict=True)]
        cells = [max(1, round(side / settings.cell)) for side in extent]
        self.grids = [(cells[a], cells[b]) for a, b in PLANES]
        self.embedding = Embedding(settings.width)
        self.blocks = nn.ModuleList(
            Block(settings.width, settings.norm, settings.drop_path) for _ in range(settings.layers)
        )

    @property
    def layers(self) -> list[nn.Module]:
        """Embedding, then the blocks."""
        return [self.embedding, *self.blocks]

    def forward(self, batch: Batch) -> Tensor:
        """(N, C) features; ``batch.neighbours`` must be there."""
        assert batch.neighbours is not None
        assert isinstance(self.low, Tensor)
        window = batch.xyz.device.type == "cpu"  # a GPU had to wait for the sizes, and finds kernels for each
        planes = [
            make_plane(batch.xyz, batch.frame, batch.frames, axes, self.low, grid, self.cell, window)
            for axes, grid in zip(PLANES, self.grids, strict=True)
        ]
        tokens: Tensor = self.embedding(batch.inputs, batch.neighbours)
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, planes[number % len(planes)], batch.frame)
        return tokens


class Block(nn.Module):
    """One layer: tokens mixed on a plane, then by channel, each added to what came in."""

    def __init__(self, width: int, norm: str, drop_path: float) -> None:
        super().__init__()
        self.spatial_norm, self.channel_norm = make_norm(norm, width), make_norm(norm, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width).to(
                memory_format=torch.channels_last  # type: ignore[call-overload]
            )
            for _ in range(2)
        )
        self.spatial_scale, self.channel_scale = make_scale(width), make_scale(width)
        self.channels = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, plane: Plane, frame: Tensor) -> Tensor:
        """(N, C) tokens to (N, C) tokens."""
        cells = flatten(self.spatial_norm(tokens), plane)
        cells = self.convolutions[1](torch.relu(self.convolutions[0](cells)))
        tokens = tokens + self._kept(inflate(cells, plane) * self.spatial_scale, frame, plane.shape[0])
        mixed = self.channels(self.channel_norm(tokens))
        return tokens + self._kept(mixed * self.channel_scale, frame, plane.shape[0])

    def _kept(self, branch: Tensor, frame: Tensor, frames: int) -> Tensor:
        """Stochastic depth (Huang et al. 2016): all of a frame's tokens skip the branch, or none."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        chosen = torch.empty(frames, 1, device=branch.device, dtype=branch.dtype).bernoulli_(keep) / keep
        return branch * chosen[frame]


def make_norm(kind: str, width: int) -> nn.Module:
    """``layer`` or ``batch``, over (N, C)."""
    return nn.LayerNorm(width) if kind == "layer" else nn.BatchNorm1d(width)


def make_scale(width: int) -> nn.Parameter:
    """LayerScale as the authors initialise it: a 1x1 depth-wise convolution's default, U(-1, 1)."""
    return nn.Parameter(torch.empty(width).uniform_(-1, 1))
