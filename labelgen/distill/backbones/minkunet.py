"""MinkUNet34 (Choy, Gwak and Savarese, CVPR 2019) as SLidR and UOV use it, through spconv, on a GPU."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from labelgen.core.errors import UserError
from labelgen.distill.backbones.base import Backbone
from labelgen.distill.batch import Batch
from labelgen.distill.settings.backbones import MinkUNetSettings

#: Blocks and widths of the stages down, widths of those up (two blocks each), width of the stem.
DOWN, UP, STEM = ((2, 32), (3, 64), (4, 128), (6, 256)), (256, 128, 96, 96), 32
UP_BLOCKS = 2


class MinkUNet(Backbone):
    """A sparse U-Net over voxels; a point has the feature of its voxel.

    The input of a voxel is the intensity of one of its points, as in SLidR.

    Args:
        settings: of the voxels.

    Raises:
        UserError: spconv is not installed, or there is no GPU.
    """

    def __init__(self, settings: MinkUNetSettings) -> None:
        super().__init__()
        spconv = load_spconv()
        self.settings, self.width = settings, UP[-1]
        self.stem = nn.ModuleList([spconv.SubMConv3d(1, STEM, 3, bias=False, indice_key="s0"), _norm(STEM)])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width = STEM
        for level, (blocks, out) in enumerate(DOWN, 1):
            conv = spconv.SparseConv3d(width, width, 2, 2, bias=False, indice_key=f"d{level}")
            chain = [_Block(spconv, width if n == 0 else out, out, f"s{level}") for n in range(blocks)]
            self.down.append(nn.ModuleList([conv, _norm(width), *chain]))
            width = out
        skips = [STEM, *(out for _, out in DOWN[:-1])][::-1]
        for depth, (out, skip) in enumerate(zip(UP, skips, strict=True)):
            level = len(DOWN) - depth
            conv = spconv.SparseInverseConv3d(width, out, 2, bias=False, indice_key=f"d{level}")
            chain = [
                _Block(spconv, out + skip if n == 0 else out, out, f"s{level - 1}") for n in range(UP_BLOCKS)
            ]
            self.up.append(nn.ModuleList([conv, _norm(out), *chain]))
            width = out

    @property
    def layers(self) -> list[nn.Module]:
        """Stem, stages down, stages up."""
        return [self.stem, *self.down, *self.up]

    def forward(self, batch: Batch) -> Tensor:
        """(N, 96) features of the batch's points."""
        if not batch.xyz.is_cuda:
            raise UserError("backbone minkunet34 runs on a GPU only; use waffleiron-12-128 on a CPU")
        spconv = load_spconv()
        coordinates, first, voxel, shape = voxels_of(batch, self.settings)
        tensor = spconv.SparseConvTensor(
            batch.inputs[first, :1].contiguous(), coordinates.int(), shape, batch.frames
        )
        tensor = _unit(tensor, self.stem)
        skips = []
        for stage in self.down:
            skips.append(tensor)
            tensor = _unit(tensor, stage)
        for stage in self.up:
            tensor = _unit(tensor, stage, skips.pop())
        features: Tensor = tensor.features[voxel]
        return features


def voxels_of(batch: Batch, settings: MinkUNetSettings) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Voxels of a batch's points.

    Returns:
        (M, 4) int64 frame and cell of each voxel, (M,) the point that stands for it, (N,) the voxel of each
        point, and the size of the grid, a multiple of the coarsest stride.
    """
    x, y, z = batch.xyz.unbind(1)
    side = settings.voxel
    if settings.cylindrical:
        angle = torch.rad2deg(torch.atan2(y, x)) / settings.degrees
        cells = torch.stack([torch.hypot(x, y) / side, angle, z / side], dim=1)
    else:
        cells = batch.xyz / side
    cells = cells.floor().long()
    cells = cells - cells.min(dim=0).values
    rows = torch.cat([batch.frame.unsqueeze(1), cells], dim=1)
    coordinates, voxel = torch.unique(rows, dim=0, return_inverse=True)
    number = torch.arange(len(rows), device=rows.device)
    first = torch.full((len(coordinates),), len(rows), device=rows.device, dtype=torch.int64)
    first = first.scatter_reduce(0, voxel, number, "amin")
    coarsest = 2 ** len(DOWN)  # an odd row at the end would be lost on the way down
    shape = [(int(last) // coarsest + 1) * coarsest for last in cells.max(dim=0).values]
    return coordinates, first, voxel, shape


def load_spconv() -> Any:
    """Spconv's modules.

    Raises:
        UserError: it is not installed, or there is no GPU to run it on.
    """
    try:
        spconv = importlib.import_module("spconv.pytorch")
    except ImportError as error:
        raise UserError(
            "backbone minkunet34 needs spconv: pip install spconv-cu126 (as your CUDA); or use "
            "waffleiron-48-256"
        ) from error
    if not torch.cuda.is_available():
        raise UserError("backbone minkunet34 runs on a GPU only; use waffleiron-12-128 on a CPU")
    return spconv


class _Block(nn.Module):
    """ResNet's basic block on active voxels."""

    def __init__(self, spconv: Any, width: int, out: int, key: str) -> None:
        super().__init__()
        self.first = spconv.SubMConv3d(width, out, 3, bias=False, indice_key=key)
        self.second = spconv.SubMConv3d(out, out, 3, bias=False, indice_key=key)
        self.norms = nn.ModuleList([_norm(out), _norm(out)])
        self.shortcut = nn.Sequential(nn.Linear(width, out, bias=False), _norm(out)) if width != out else None

    def forward(self, tensor: Any) -> Any:
        """A sparse tensor to one of the same voxels."""
        before = tensor.features if self.shortcut is None else self.shortcut(tensor.features)
        tensor = _activate(self.first(tensor), self.norms[0])
        tensor = self.second(tensor)
        return tensor.replace_feature(torch.relu(self.norms[1](tensor.features) + before))


def _unit(tensor: Any, stage: Any, skip: Any = None) -> Any:
    """Convolution, norm, ReLU, what is skipped to joined, then the blocks of a stage."""
    conv, norm, *blocks = stage
    tensor = _activate(conv(tensor), norm)
    if skip is not None:
        tensor = tensor.replace_feature(torch.cat([tensor.features, skip.features], dim=1))
    for block in blocks:
        tensor = block(tensor)
    return tensor


def _activate(tensor: Any, norm: Any) -> Any:
    return tensor.replace_feature(torch.relu(norm(tensor.features)))


def _norm(width: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(width, momentum=0.05)
