"""Every loss against its equation written out (`literal`), with gradients, and at the edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from labelgen.distill import losses
from labelgen.distill.losses import pooling
from tests.unit.distill import literal

TAU = 0.2  # so that exp() of the written-out equations stays well within float64


def rows(count: int, width: int, seed: int, unit: bool = True) -> Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(drawn, dim=1) if unit else drawn


def agree(fast, slow, *inputs: Tensor) -> None:
    """Values and gradients with respect to every input."""
    outcomes = []
    for function in (fast, slow):
        given = [value.clone().requires_grad_() for value in inputs]
        value = function(*given)
        value.backward()
        outcomes.append((value.detach(), *(x.grad for x in given)))
    for mine, true in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-6, atol=1e-6)


@pytest.fixture(params=[None, 40], ids=["whole", "blocks"])
def block(request, monkeypatch):
    """Tables as a whole, and in blocks of a few rows."""
    if request.param:
        monkeypatch.setattr(pooling, "BLOCK", request.param)
        monkeypatch.setattr(losses.tolerant, "BLOCK", request.param)


SIZES = [1, 2, 13]


@pytest.mark.usefixtures("block")
class TestEquations:
    @pytest.mark.parametrize("M", SIZES)
    def test_info_nce(self, M):
        agree(
            lambda k, q: losses.info_nce(k, q, TAU),
            lambda k, q: literal.info_nce(k, q, TAU),
            rows(M, 6, 0),
            rows(M, 6, 1),
        )

    def test_slidr_pools_before_it_contrasts(self):
        region = [0, 3, 3, 0, 1, 3, 0]

        def fast(points, q):
            means, count = losses.pool(points, torch.tensor(region), 5)
            assert count.tolist() == [3, 1, 0, 3, 0]
            return losses.info_nce(means[count > 0], q, TAU)

        def slow(points, q):
            means = [mean for mean in literal.region_means(points, region, 5) if mean is not None]
            return literal.info_nce(torch.stack(means), q, TAU)

        agree(fast, slow, rows(7, 6, 0), rows(3, 6, 1))

    @pytest.mark.parametrize("M", SIZES)
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
    @pytest.mark.parametrize("threshold", [None, 0.1])
    def test_tolerant(self, M, share, threshold):
        look = rows(M, 3, 2, unit=False)
        agree(
            lambda k, q: losses.tolerant_contrast(k, q, look, TAU, share, threshold),
            lambda k, q: literal.tolerant(k, q, look, TAU, share, threshold),
            rows(M, 6, 0),
            rows(M, 6, 1),
        )

    @pytest.mark.parametrize("M", SIZES)
    def test_regressions(self, M):
        k, q = rows(M, 6, 0, unit=False), rows(M, 6, 1, unit=False)
        agree(losses.unit_distance, literal.unit_distance, k, q)
        agree(losses.cosine_distance, literal.cosine_distance, k, q)

    @pytest.mark.parametrize("M", SIZES)
    @pytest.mark.parametrize("epsilon", [-2.0, 0.0, 0.05, 0.6, 2.0])
    def test_filtered(self, M, epsilon):
        text, look = rows(M, 4, 2, unit=False), rows(M, 4, 3, unit=False)
        agree(
            lambda p, q: losses.filtered_contrast(p, q, text, look, TAU, epsilon),
            lambda p, q: literal.filtered(p, q, text, look, TAU, epsilon),
            rows(M, 6, 0),
            rows(M, 6, 1),
        )

    @pytest.mark.parametrize("classes", [1, 2, 5])
    def test_class_assignment(self, classes):
        text, label = rows(classes, 6, 1), [3 % classes, 0, (classes - 1), 0]
        agree(
            lambda f, t: losses.class_assignment(f, t, torch.tensor(label), TAU),
            lambda f, t: literal.assignment(f, t, label, TAU),
            rows(4, 6, 0),
            text,
        )

    @pytest.mark.parametrize("M", SIZES)
    def test_caption_contrast(self, M):
        agree(
            lambda p, t: losses.caption_contrast(p, t, TAU),
            lambda p, t: literal.info_nce(p, t, TAU),
            rows(M, 6, 0),
            rows(M, 6, 1),
        )

    @pytest.mark.parametrize("M", SIZES)
    def test_tmp_text(self, M):
        group = [0, 0, 0, 1, 2, 2]
        text, word = normalize(rows(6, 5, 1) + 1, dim=1), [(5 * i) % 6 for i in range(M)]
        target = losses.soft_targets(text, torch.tensor(group), 0.2)
        agree(
            lambda k: losses.text_contrast(k, text, target, torch.tensor(word), TAU),
            lambda k: literal.tmp_text(k, text, group, word, 0.2, TAU),
            rows(M, 5, 0),
        )


def test_soft_targets_stay_within_the_group_and_sum_to_one():
    text, group = normalize(rows(6, 5, 1) + 1, dim=1), [0, 0, 0, 1, 2, 2]
    target = losses.soft_targets(text, torch.tensor(group), 0.2)
    written = torch.tensor([literal.soft_target(text, group, 0.2, y) for y in range(6)], dtype=torch.float64)
    torch.testing.assert_close(target, written)
    torch.testing.assert_close(target.sum(1), torch.ones(6, dtype=torch.float64))
    assert target[3].tolist() == pytest.approx([0, 0, 0, 1, 0, 0])  # a group of one word: the word itself


def test_majority_class():
    torch.manual_seed(0)
    for classes in (1, 3):
        label, region = torch.randint(-1, classes + 2, (60,)), torch.randint(0, 9, (60,))
        found = losses.majority_class(label, region, 11, classes)
        assert found.tolist() == literal.majority(label.tolist(), region.tolist(), 11, classes)
    tied = losses.majority_class(torch.tensor([2, 1, 1, 2]), torch.tensor([0, 0, 0, 0]), 2, 3)
    assert tied.tolist() == [1, -1]


EMPTY = {
    "info_nce": lambda k: losses.info_nce(k, k.detach(), TAU),
    "tolerant": lambda k: losses.tolerant_contrast(k, k.detach(), k.detach(), TAU),
    "unit_distance": lambda k: losses.unit_distance(k, k.detach()),
    "cosine_distance": lambda k: losses.cosine_distance(k, k.detach()),
    "filtered": lambda k: losses.filtered_contrast(k, k.detach(), k.detach(), k.detach(), TAU, 0.05),
    "class_assignment": lambda k: losses.class_assignment(k, rows(3, 6, 0), torch.zeros(0).long(), TAU),
    "text": lambda k: losses.text_contrast(
        k, rows(3, 6, 0), torch.eye(3).double(), torch.zeros(0).long(), TAU
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_gives_a_loss_of_zero_that_can_be_differentiated(name):
    source = rows(4, 6, 0).requires_grad_()
    loss = EMPTY[name](source[:0] * 2)
    loss.backward()
    assert loss.item() == 0
    assert not source.grad.any()


@pytest.mark.parametrize("name", [n for n in EMPTY if n in ("info_nce", "tolerant", "filtered")])
def test_duplicated_features_are_finite_and_symmetric(name):
    anchor = rows(1, 6, 0).repeat(5, 1).requires_grad_()
    loss = EMPTY[name](anchor)
    loss.backward()
    assert torch.isfinite(anchor.grad).all()
    torch.testing.assert_close(anchor.grad, anchor.grad[:1].expand(5, -1))
    if name == "info_nce":  # nothing tells the pairs apart
        assert loss.item() == pytest.approx(torch.tensor(5.0).log().item())
    if name == "filtered":  # every other one is a likely false negative
        assert loss.item() == pytest.approx(0)


def test_a_tolerated_negative_stays_in_the_sum_as_exp_0():
    """Three alike: both others get logit 0, so that the loss is that of one logit against two zeros."""
    k = rows(1, 6, 0).repeat(3, 1)
    loss = losses.tolerant_contrast(k, k, k, 1.0, 0.01, None)
    assert loss.item() == pytest.approx(-torch.tensor([1.0, 0, 0]).log_softmax(0)[0].item())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.37, 0.999, 1.0])
def test_low_quantile(share):
    for width in (1, 2, 51):
        drawn = rows(4, width, 0, unit=False)
        torch.testing.assert_close(
            losses.tolerant.low_quantile(drawn, share), drawn.quantile(share, dim=1, keepdim=True)
        )


def test_balance_weights_favour_the_rare():
    look = torch.tensor([[1.0, 0], [1, 0.1], [1, -0.1], [0, 1]])
    weight = losses.balance_weights(look)
    assert weight[3] == 1
    assert weight[:3].max() < 0.05
    assert losses.balance_weights(torch.eye(3)).tolist() == [1, 1, 1]


def test_the_distance_of_equal_vectors_has_a_finite_gradient():
    k = rows(3, 6, 0).requires_grad_()
    losses.unit_distance(k, 2 * k.detach()).backward()
    assert torch.isfinite(k.grad).all()


def test_a_table_is_never_held_as_a_whole(monkeypatch):
    """The largest tensor that backward keeps does not grow with M x M."""
    monkeypatch.setattr(pooling, "BLOCK", 1000)
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    k, q = rows(300, 4, 0).requires_grad_(), rows(300, 4, 1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses.info_nce(k, q, TAU)
    assert max(kept, default=0) <= 1200
