"""Losses and matching of the panoptic method equal their equations, gradients too; edges are defined."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from labelgen.distill.losses import pooling
from labelgen.distill.losses.masks import class_cost, dice, dice_cost, focal, focal_cost
from labelgen.distill.losses.vision_language import object_distance, voxel_distance
from labelgen.distill.panoptic.objective import match
from tests.unit.distill import literal_panoptic as literal

Q, G, P, D, C = 7, 4, 23, 5, 3
SEEDS = (0, 1, 2)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(fast, slow, *inputs: torch.Tensor) -> None:
    """Values to 1e-6, and the gradients with respect to all inputs."""
    inputs = tuple(x.requires_grad_() for x in inputs)
    ours, theirs = fast(*inputs), slow(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(theirs.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("gamma", "alpha"), [(4.0, 0.25), (2.0, 0.25), (0.0, 0.5)])
def test_focal(seed, gamma, alpha):
    target = (draw(seed + 9, Q, P) > 0).double()

    def slow(x):
        return torch.stack(
            [literal.mask_focal(row, t, gamma, alpha) for row, t in zip(x, target, strict=True)]
        )

    same(lambda x: focal(x, target, gamma, alpha).mean(1), slow, draw(seed, Q, P))


@pytest.mark.parametrize("seed", SEEDS)
def test_dice(seed):
    target = (draw(seed + 9, Q, P) > 0).double()
    target[0] = 0

    def slow(x):
        return torch.stack([literal.dice(row, t) for row, t in zip(x, target, strict=True)])

    same(lambda x: dice(x, target), slow, draw(seed, Q, P))


@pytest.mark.parametrize("seed", SEEDS)
def test_costs_are_the_losses_of_every_pair(seed):
    logits, target = draw(seed, Q, P), (draw(seed + 9, G, P) > 0).double()
    found = focal_cost(logits, target, 2.0, 0.25), dice_cost(logits, target)
    for q, g in itertools.product(range(Q), range(G)):
        torch.testing.assert_close(
            found[0][q, g], literal.mask_focal(logits[q], target[g], 2.0, 0.25), rtol=1e-6, atol=1e-6
        )
        torch.testing.assert_close(found[1][q, g], literal.dice(logits[q], target[g]), rtol=1e-6, atol=1e-6)
    logits, label = draw(seed, Q, C), torch.tensor([2, 0, 2, 1])
    cost = class_cost(logits, label, 4.0, 0.25)
    for q, g in itertools.product(range(Q), range(G)):
        x = logits[q, label[g]]
        gain = literal.focal(x, 1, 4.0, 0.25) - literal.focal(x, 0, 4.0, 0.25)
        torch.testing.assert_close(cost[q, g], gain, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 99))
def test_the_matching_is_the_cheapest_of_all(queries, things, seed):
    cost = draw(seed, queries, things)
    query, thing = match(cost)
    assert len(query) == len(set(query.tolist())) == len(set(thing.tolist())) == min(queries, things)
    assert float(cost[query, thing].sum()) == pytest.approx(literal.matching(cost.tolist()))


@pytest.mark.parametrize("seed", SEEDS)
def test_object_distillation(seed):
    mask = draw(seed + 5, G, P).sigmoid()
    mask[1] = 0  # of a mask without a seen point nothing is known
    same(
        object_distance,
        literal.object_distance,
        draw(seed, G, D),
        mask,
        normalize(draw(seed + 2, P, D), dim=1),
    )


@pytest.mark.parametrize("block", [1 << 23, 3 * (D + Q)])
@pytest.mark.parametrize("seed", SEEDS)
def test_voxel_distillation(seed, block, monkeypatch):
    monkeypatch.setattr(pooling, "BLOCK", block)  # small: in blocks, which changes nothing
    image = normalize(draw(seed + 2, P, D), dim=1)
    mask = draw(seed + 5, Q, P).sigmoid() * torch.linspace(0.05, 1, P)  # sums above and below 1
    assert (mask.sum(0) < 1).any()
    assert (mask.sum(0) > 1).any()
    same(voxel_distance, literal.voxel_distance, draw(seed, Q, D), mask, image)


def test_perfect_answers_have_no_loss():
    image = torch.eye(D, dtype=torch.float64)
    mask = torch.eye(D, dtype=torch.float64)
    assert float(object_distance(3 * image, mask, image)) == pytest.approx(0)
    assert float(voxel_distance(3 * image, mask, image)) == pytest.approx(0)
    far = torch.where(mask > 0, 40.0, -40.0).double()
    assert float(dice(far, mask).sum()) == pytest.approx(0)
    assert float(focal(far, mask, 2.0, 0.25).sum()) == pytest.approx(0)


def test_nothing_to_learn_from_gives_zero_with_a_gradient():
    f = draw(0, G, D).requires_grad_()
    for loss in (
        object_distance(f, torch.zeros(G, 0).double(), torch.zeros(0, D).double()),
        object_distance(f[:0], torch.zeros(0, P).double(), draw(1, P, D)),
        voxel_distance(f, torch.zeros(G, 0).double(), torch.zeros(0, D).double()),
    ):
        assert float(loss) == 0
        if loss.requires_grad:
            assert not torch.autograd.grad(loss, f)[0].any()
