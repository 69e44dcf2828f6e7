"""WaffleIron's tokens: a point by itself, and the strongest of what its neighbours differ by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: Of a point: intensity, x, y, z, range.
INPUTS = 5
#: Numbers in a table over a block's neighbours: on a CPU they stay in the processor's cache, on a GPU they
#: are a small part of what a step holds anyway.
_BLOCK_CPU, _BLOCK_GPU = 1 << 19, 1 << 26


class Embedding(nn.Module):
    """A token for each point from its own inputs and from what is around it (Puy et al., ICCV 2023).

    Args:
        width: C of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(INPUTS)
        self.own = nn.Linear(INPUTS, width)
        self.difference_norm = nn.BatchNorm1d(INPUTS)
        self.difference = nn.Linear(INPUTS, width, bias=False)
        self.around_norm = nn.BatchNorm1d(width)
        self.around = nn.Linear(width, width, bias=False)
        self.join = nn.Linear(2 * width, width)

    def forward(self, inputs: Tensor, neighbours: Tensor) -> Tensor:
        """(N, C) of (N, 5) inputs and (N, k) neighbours."""
        N, k = neighbours.shape
        x = self.norm(inputs)
        difference = x.index_select(0, neighbours.reshape(-1)).view(N, k, INPUTS) - x.unsqueeze(1)
        rows = self.difference_norm(difference.view(N * k, INPUTS))
        weight, bias = fold_norm(rows, self.difference.weight, self.around_norm)
        around = strongest(rows.view(N, k, INPUTS), weight, bias, self.around.weight)
        joined: Tensor = self.join(torch.cat([self.own(x), around.to(x.dtype)], dim=1))
        return joined


def fold_norm(rows: Tensor, weight: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """A linear layer and the batch norm over what it gives, as one layer.

    In training, the means and variances of ``rows @ weight.T`` follow from those of the rows' few columns:
    the long table of C columns is never made for them. The norm's running means are kept up as it would.

    Args:
        rows: (R, F) what goes into the layer; few columns.
        weight: (C, F) of the layer, which has no bias.
        norm: over C columns.

    Returns:
        (C, F) weight and (C,) bias.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.autocast(rows.device.type, enabled=False):
        if norm.training:
            rows = rows.to(weight.dtype)
            middle = rows.mean(0)
            apart = rows - middle
            mean = weight @ middle
            variance = (weight @ (apart.T @ apart / len(rows)) * weight).sum(1)
            with torch.no_grad():
                assert norm.num_batches_tracked is not None
                assert norm.momentum is not None
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(mean, norm.momentum)
                norm.running_var.lerp_(variance * (len(rows) / max(1, len(rows) - 1)), norm.momentum)
        else:
            mean, variance = norm.running_mean, norm.running_var
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return weight * scale[:, None], norm.bias - mean * scale


# Not compiled: its loop has as many rounds as the batch is long.
@torch.compiler.disable
def strongest(rows: Tensor, weight: Tensor, bias: Tensor, last: Tensor) -> Tensor:
    """(N, D) largest of ``relu(r W^T + b) V^T`` over the k rows r of each point, column by column.

    The tables of N k rows are made block by block, and again in the backward pass: they would be most of what
    a small network writes and reads, and most of its memory. Among equal ones the gradient goes to one.

    Args:
        rows: (N, k, F).
        weight: (C, F) W.
        bias: (C,) b.
        last: (D, C) V.
    """
    kind = rows.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    found: Tensor = _Strongest.apply(*(part.to(dtype) for part in (rows, weight, bias, last)))  # type: ignore[no-untyped-call]
    return found


class _Strongest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, last: Tensor) -> Tensor:
        found = rows.new_empty(len(rows), len(last))
        which = torch.empty_like(found, dtype=torch.int64)
        # Laid out so, BLAS does not read the long side of a table in strides.
        columns = last.T.contiguous()
        for block in _blocks(rows, weight):
            out = _hidden(rows[block], weight, bias) @ columns
            found[block], which[block] = out.view(-1, rows.shape[1], len(last)).max(dim=1)
        ctx.save_for_backward(rows, weight, bias, last, which)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows, weight, bias, last, which = ctx.saved_tensors
        into_rows = torch.empty_like(rows)
        # Sums over all points in float32 at least, as BLAS adds them up.
        total = torch.promote_types(rows.dtype, torch.float32)
        into_weight, into_last = (table.new_zeros(table.T.shape, dtype=total) for table in (weight, last))
        into_bias = torch.zeros_like(bias, dtype=total)
        with torch.autocast(rows.device.type, enabled=False):
            for block in _blocks(rows, weight):
                hidden = _hidden(rows[block], weight, bias)
                out = hidden.new_zeros(len(which[block]), rows.shape[1], len(last))
                out.scatter_(1, which[block].unsqueeze(1), gradient[block].to(out.dtype).unsqueeze(1))
                out = out.view(-1, len(last))
                into_last += hidden.T @ out
                # What relu let through; `where` takes ten times as long on a CPU.
                into_hidden = (out @ last).mul_(hidden.sign_())
                into_bias += into_hidden.sum(0)
                into_weight += rows[block].flatten(0, 1).T @ into_hidden
                into_rows[block] = (into_hidden @ weight).view(-1, *rows.shape[1:])
        sums = (into_weight.T, into_bias, into_last.T)
        return into_rows, *(part.to(rows.dtype) for part in sums)  # type: ignore[return-value]


def _blocks(rows: Tensor, weight: Tensor) -> list[slice]:
    most = _BLOCK_CPU if rows.device.type == "cpu" else _BLOCK_GPU
    step = max(1, most // (rows.shape[1] * len(weight)))
    return [slice(begin, begin + step) for begin in range(0, len(rows), step)]


def _hidden(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, rows.flatten(0, 1), weight.T.contiguous()).relu_()
