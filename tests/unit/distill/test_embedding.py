"""WaffleIron's embedding in blocks against the same layers one after another."""

import copy

import pytest
import torch

from labelgen.distill.backbones import embedding as module
from labelgen.distill.backbones.embedding import Embedding
from tests.helpers.clouds import make_batch


def literal(embedding, inputs, neighbours):
    x = embedding.norm(inputs)
    difference = x[neighbours] - x[:, None]
    hidden = embedding.difference(embedding.difference_norm(difference.flatten(0, 1)))
    hidden = embedding.around(torch.relu(embedding.around_norm(hidden)))
    around = hidden.view(*neighbours.shape, -1).amax(1)
    return embedding.join(torch.cat([embedding.own(x), around], 1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rows_per_block", [1, 7, 1000])
def test_blocks_change_neither_tokens_nor_gradients_nor_running_means(training, rows_per_block, monkeypatch):
    torch.manual_seed(0)
    ours = Embedding(6).double()
    with torch.no_grad():
        for value in (*ours.parameters(), *ours.buffers()):
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.5)
    ours.train(training)
    theirs = copy.deepcopy(ours)
    batch = make_batch((25, 15))
    monkeypatch.setattr(module, "_BLOCK_CPU", rows_per_block * batch.neighbours.shape[1] * 6)
    weight = torch.randn(len(batch), 6, dtype=torch.float64)
    for _ in range(2):  # the second time with the running means of the first
        for one, forward in ((ours, ours), (theirs, lambda *given: literal(theirs, *given))):
            one.zero_grad()
            tokens = forward(batch.inputs.double(), batch.neighbours)
            (tokens * weight).sum().backward()
            one.tokens = tokens.detach()
        torch.testing.assert_close(ours.tokens, theirs.tokens)
        for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, msg=lambda said, name=name: f"{name}: {said}")
        for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            torch.testing.assert_close(a, b, msg=lambda said, name=name: f"{name}: {said}")


def test_neighbours_that_repeat_share_one_gradient():
    torch.manual_seed(0)
    ours = Embedding(6).double().eval()
    batch = make_batch((8,))
    twice = batch.neighbours[:, [0, 0, 1, 1]]
    once = torch.autograd.grad(literal(ours, batch.inputs.double(), twice).sum(), ours.around.weight)[0]
    again = torch.autograd.grad(ours(batch.inputs.double(), twice).sum(), ours.around.weight)[0]
    torch.testing.assert_close(once, again)


def test_half_precision_is_near_and_its_gradients_are_of_the_weights_kind():
    torch.manual_seed(0)
    ours = Embedding(16)
    batch = make_batch((40, 30))
    exact = copy.deepcopy(ours)(batch.inputs, batch.neighbours)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = ours(batch.inputs, batch.neighbours)
    assert tokens.dtype == torch.bfloat16
    torch.testing.assert_close(tokens.float(), exact, atol=0.1, rtol=0.1)
    tokens.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ours.parameters())
