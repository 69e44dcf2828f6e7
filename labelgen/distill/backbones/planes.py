"""Points to the cells of a plane and back: means by cell, reading by cell, without atomic additions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

#: Windows are multiples of so many cells long.
_STEP = 16


@dataclass(frozen=True)
class Plane:
    """Which cell of a plane each point lies in; made once per batch and plane, used by every layer.

    Attributes:
        cell: (N,) int64 cell of each point, counted through all frames: (frame, row, column).
        order: (N,) int64 points sorted by cell.
        begin: (B * H * W,) int64 where each cell's points begin in ``order``.
        share: (N, 1) float32 one over the number of points in the point's cell.
        shape: B, H, W.
    """

    cell: Tensor
    order: Tensor
    begin: Tensor
    share: Tensor
    shape: tuple[int, int, int]


def make_plane(
    xyz: Tensor,
    frame: Tensor,
    frames: int,
    axes: tuple[int, int],
    low: Tensor,
    grid: tuple[int, int],
    cell: float,
    window: bool = False,
) -> Plane:
    """Find the cell of each point: ``floor((coordinate - low) / cell)`` along both axes.

    Points beyond the grid count to the cells at its edge; the loader leaves them out.

    With a window, cells that two 3x3 convolutions in a row do not need are left out: those further than one
    cell from the box around a frame's points. What the convolutions give at the points' cells stays the same,
    as does every gradient; what they take shrinks with the part of the grid that a frame fills.

    Args:
        xyz: (N, 3) metres.
        frame: (N,) int64, 0..frames-1.
        frames: B.
        axes: of the plane, such as (0, 1) for x and y.
        low: (3,) where the grid begins, metres.
        grid: H cells along the first axis, W along the second.
        cell: side of a cell, metres.
        window: leave out what no point needs; the shape is that of the batch's largest frame, then.
    """
    row, column = (
        ((xyz[:, axis] - low[axis]) / cell).floor().long().clamp_(0, size - 1)
        for axis, size in zip(axes, grid, strict=True)
    )
    H, W = grid
    if window and len(xyz):
        row, H = _windowed(row, frame, frames, H)
        column, W = _windowed(column, frame, frames, W)
    index = (frame * H + row) * W + column
    count = torch.bincount(index, minlength=frames * H * W)
    return Plane(
        cell=index,
        order=torch.argsort(index, stable=True),
        begin=torch.cumsum(count, 0) - count,
        share=1.0 / count[index].unsqueeze(1).to(torch.float32),
        shape=(frames, H, W),
    )


def _windowed(place: Tensor, frame: Tensor, frames: int, size: int) -> tuple[Tensor, int]:
    """Places along an axis counted from where each frame's window begins, and the windows' length.

    Windows lie inside the grid: its edge stays where the convolutions pad it. Their length is rounded up, so
    that few shapes come: oneDNN keeps what it prepares for a convolution of each shape, in megabytes.
    """
    begin, end = place.new_full((frames,), size), place.new_zeros(frames)
    begin = (begin.scatter_reduce(0, frame, place, "amin") - 1).clamp_(min=0)
    end = (end.scatter_reduce(0, frame, place, "amax") + 2).clamp_(max=size)
    length = min(size, -(-int((end - begin).amax()) // _STEP) * _STEP)
    return place - begin.clamp_(max=size - length)[frame], length


def flatten(tokens: Tensor, plane: Plane) -> Tensor:
    """(B, C, H, W) mean of the (N, C) tokens in each cell, 0 in empty ones; channels last in memory."""
    B, H, W = plane.shape
    cells: Tensor = _Mean.apply(tokens, plane)  # type: ignore[no-untyped-call]
    return cells.view(B, H, W, -1).permute(0, 3, 1, 2)


def inflate(cells: Tensor, plane: Plane) -> Tensor:
    """(N, C) of the (B, C, H, W) cells: each point reads the cell that it lies in."""
    rows = cells.permute(0, 2, 3, 1).reshape(-1, cells.shape[1])
    points: Tensor = _Read.apply(rows, plane)  # type: ignore[no-untyped-call]
    return points


def _sum(points: Tensor, plane: Plane) -> Tensor:
    """(B * H * W, C) sums of (N, C) rows by cell, in the order of the points: equal in every call."""
    return embedding_bag(plane.order, points, plane.begin, mode="sum")


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tokens: Tensor, plane: Plane) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.plane = plane
        return _sum(tokens * plane.share.to(tokens.dtype), plane)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        plane: Plane = ctx.plane
        return gradient.index_select(0, plane.cell) * plane.share.to(gradient.dtype), None


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, plane: Plane) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.plane = plane
        return rows.index_select(0, plane.cell)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return _sum(gradient, ctx.plane), None
