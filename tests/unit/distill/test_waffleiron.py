"""WaffleIron: published size; planes and the whole network against literal implementations."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from labelgen.core.errors import UserError
from labelgen.distill.backbones import waffleiron
from labelgen.distill.backbones.planes import flatten, inflate, make_plane
from labelgen.distill.batch import Batch
from labelgen.distill.registry import make_backbone
from tests.helpers.clouds import make_batch


def test_the_largest_has_the_published_number_of_parameters():
    with torch.device("meta"):
        backbone = make_backbone("waffleiron-48-768")
        head = nn.Linear(768, 1024)
    count = sum(p.numel() for part in (backbone, head) for p in part.parameters())
    assert round(count / 1e6, 1) == 60.2
    layers = sum(p.numel() for layer in backbone.layers for p in layer.parameters())
    assert layers == sum(p.numel() for p in backbone.parameters())


def literal_mean(tokens, xyz, frame, frames, axes, low, grid, cell):
    out = torch.zeros(frames, tokens.shape[1], *grid, dtype=tokens.dtype)
    where = []
    for point in range(len(xyz)):
        row, column = (math.floor((float(xyz[point, a]) - low[a]) / cell) for a in axes)
        where.append((int(frame[point]), min(max(row, 0), grid[0] - 1), min(max(column, 0), grid[1] - 1)))
    for place in set(where):
        inside = [point for point, other in enumerate(where) if other == place]
        out[place[0], :, place[1], place[2]] = torch.stack([tokens[p] for p in inside]).sum(0) / len(inside)
    return out, where


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_flatten_and_inflate_equal_a_literal_implementation(axes):
    batch = make_batch((50, 1, 30), spread=6.0)
    low, grid, cell = (-5.0, -5.0, -4.0), (4, 5), 2.5  # points beyond the grid are among them
    plane = make_plane(batch.xyz, batch.frame, 3, axes, torch.tensor(low), grid, cell)
    tokens = torch.randn(len(batch), 7, dtype=torch.float64, requires_grad=True)
    cells = flatten(tokens, plane)
    expected, where = literal_mean(tokens, batch.xyz, batch.frame, 3, axes, low, grid, cell)
    torch.testing.assert_close(cells, expected)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((cells * weight).sum(), tokens)[0]
    torch.testing.assert_close(ours, torch.autograd.grad((expected * weight).sum(), tokens)[0])

    grids = torch.randn(3, 7, *grid, dtype=torch.float64, requires_grad=True)
    read = inflate(grids, plane)
    literal = torch.stack([grids[b, :, row, column] for b, row, column in where])
    torch.testing.assert_close(read, literal)
    weight = torch.randn_like(literal)
    ours = torch.autograd.grad((read * weight).sum(), grids)[0]
    torch.testing.assert_close(ours, torch.autograd.grad((literal * weight).sum(), grids)[0])


def test_the_whole_network_equals_its_description():
    torch.manual_seed(0)
    settings = {
        "layers": 4,
        "width": 6,
        "neighbours": 4,
        "low": (-20, -20, -20),
        "high": (20, 20, 20),
        "cell": 4,
    }
    backbone = make_backbone("waffleiron", settings).eval()
    for name, buffer in backbone.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand_like(buffer) * 0.1)
    batch = make_batch((25, 15))
    embedding = backbone.embedding
    x = embedding.norm(batch.inputs)
    around = []
    for point, nearest in enumerate(batch.neighbours.tolist()):
        hidden = embedding.difference(
            embedding.difference_norm(torch.stack([x[n] - x[point] for n in nearest]))
        )
        around.append(embedding.around(torch.relu(embedding.around_norm(hidden))).amax(0))
    tokens = embedding.join(torch.cat([embedding.own(x), torch.stack(around)], 1))
    for number, block in enumerate(backbone.blocks):
        axes = [(0, 1), (0, 2), (1, 2)][number % 3]
        cells, where = literal_mean(
            block.spatial_norm(tokens), batch.xyz, batch.frame, 2, axes, (-20.0,) * 3, (10, 10), 4.0
        )
        cells = block.convolutions[1](torch.relu(block.convolutions[0](cells)))
        read = torch.stack([cells[b, :, row, column] for b, row, column in where])
        tokens = tokens + read * block.spatial_scale
        tokens = tokens + block.channels(block.channel_norm(tokens)) * block.channel_scale
    torch.testing.assert_close(backbone(batch), tokens, atol=1e-5, rtol=1e-4)


def test_frames_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    backbone = make_backbone("waffleiron-3-8", {"neighbours": 4}).eval()
    two = make_batch((40, 30))
    alone = Batch(
        frame_id=("a",),
        xyz=two.xyz[:40],
        inputs=two.inputs[:40],
        frame=two.frame[:40],
        neighbours=two.neighbours[:40],
    )
    torch.testing.assert_close(backbone(two)[:40], backbone(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("spread", [2.0, 8.0, 30.0])  # a corner of the grid, half of it, more than all
def test_cells_that_no_point_needs_are_left_out_without_a_trace(spread, monkeypatch):
    torch.manual_seed(0)
    settings = {
        "layers": 6,
        "width": 6,
        "neighbours": 4,
        "low": (-20, -20, -8),
        "high": (20, 20, 8),
        "cell": 1,
    }
    backbone = make_backbone("waffleiron", settings).double()
    batch = make_batch((60, 1, 30), spread=spread)
    batch.xyz[:60] += torch.tensor([12.0, -9.0, 0.0])  # frames need not lie in the same place
    batch = replace(batch, inputs=batch.inputs.double())
    shapes, found = [], []
    for whole in (True, False):

        def plane(*given, whole=whole):
            made = make_plane(*given[:7], not whole)
            shapes.append(made.shape)
            return made

        monkeypatch.setattr(waffleiron, "make_plane", plane)
        backbone.zero_grad()
        tokens = backbone(batch)
        (tokens * torch.linspace(-1, 1, tokens.numel()).view_as(tokens)).sum().backward()
        found.append((tokens.detach(), [p.grad for p in backbone.parameters()]))
    torch.testing.assert_close(found[0], found[1])
    assert shapes[:3] == [(3, 40, 40), (3, 40, 16), (3, 40, 16)]
    if spread == 2.0:  # in few shapes, whatever the points: each costs memory for good
        assert all((rows, columns) == (16, 16) for _, rows, columns in shapes[3:])


def test_drop_path_skips_whole_frames_and_keeps_the_mean():
    torch.manual_seed(0)
    backbone = make_backbone("waffleiron", {"layers": 1, "width": 4, "neighbours": 4, "drop_path": 0.5})
    block = backbone.blocks[0]
    branch = torch.ones(6000, 1)
    frame = torch.arange(2000).repeat_interleave(3)
    kept = block._kept(branch, frame, 2000)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert (kept.view(2000, 3).std(1) == 0).all()
    assert abs(float(kept.mean()) - 1) < 0.1
    assert torch.equal(block.eval()._kept(branch, frame, 2000), branch)


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("resnet", {}, "unknown backbone"),
        ("waffleiron-0-8", {}, "layers"),
        ("waffleiron", {"wide": 3}, "wide"),
    ],
)
def test_wrong_names_and_settings_are_refused(name, settings, word):
    with pytest.raises(UserError, match=word):
        make_backbone(name, settings)
