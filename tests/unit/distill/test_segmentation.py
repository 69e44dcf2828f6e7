"""Cross entropy and Lovász-softmax against literal implementations, with and without weights."""

import pytest
import torch

from labelgen.distill.losses.segmentation import lovasz_softmax, weighted_cross_entropy
from labelgen.distill.methods import CacheInfo
from labelgen.distill.methods.segmentation import Segmentation
from labelgen.distill.settings.methods import SegmentationSettings
from tests.helpers.clouds import make_batch
from tests.helpers.training_runs import TAXONOMY, WIDTH


def literal_lovasz(probability, label):
    """Algorithm 1 of Berman et al.: the Jaccard loss of every prefix of the sorted errors, by sets."""
    losses = []
    for c in sorted(set(label.tolist())):
        truth = {i for i, y in enumerate(label.tolist()) if y == c}
        errors = [1 - probability[i, c] if i in truth else probability[i, c] for i in range(len(label))]
        order = sorted(range(len(label)), key=lambda i: -float(errors[i]))
        loss, before, wrong = 0.0, 0.0, set()
        for i in order:
            wrong.add(i)
            predicted = (truth - wrong) | (wrong - truth)  # what a prediction with these errors would hold
            jaccard = 1 - len(truth & predicted) / len(truth | predicted)
            loss = loss + errors[i] * (jaccard - before)
            before = jaccard
        losses.append(loss)
    return sum(losses) / len(losses)


def draw(seed, points=15, classes=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(points, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, classes, (points,), generator=generator)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lovasz_equals_the_literal_one_and_so_do_gradients(seed):
    logits, label = draw(seed)
    ours, literal = lovasz_softmax(logits.softmax(1), label), literal_lovasz(logits.softmax(1), label)
    torch.testing.assert_close(ours, literal, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, literal)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


def test_a_weight_counts_as_so_many_points():
    logits, label = draw(0)
    times = torch.randint(0, 4, (len(label),), generator=torch.Generator().manual_seed(3))
    more, labels = logits.repeat_interleave(times, 0), label.repeat_interleave(times)
    for ours, whole in (
        (
            lovasz_softmax(logits.softmax(1), label, times),
            lovasz_softmax(more.softmax(1), labels),
        ),
        (weighted_cross_entropy(logits, label, times), torch.nn.functional.cross_entropy(more, labels)),
    ):
        torch.testing.assert_close(ours, whole)
        gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, whole)]
        torch.testing.assert_close(*gradients)


def test_nothing_to_learn_is_a_loss_of_zero():
    logits = torch.randn(5, 3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    for loss in (
        lovasz_softmax(logits[:0].softmax(1), none),
        weighted_cross_entropy(logits[:0], none),
        lovasz_softmax(logits.softmax(1), torch.zeros(5, dtype=torch.int64), torch.zeros(5)),
        weighted_cross_entropy(logits, torch.zeros(5, dtype=torch.int64), torch.zeros(5)),
    ):
        assert loss == 0
        assert (torch.autograd.grad(loss, logits)[0] == 0).all()


def test_one_class_is_a_batch_like_any_other():
    logits, _ = draw(0)
    label = torch.zeros(15, dtype=torch.int64)
    wrong = 1 - logits.softmax(1)[:, 0]
    torch.testing.assert_close(lovasz_softmax(logits.softmax(1), label), wrong.mean())


@pytest.mark.parametrize("head", ["linear", "text"])
def test_the_head_ignores_points_without_labels_and_counts_confidence(head):
    torch.manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(3, WIDTH), dim=1).numpy()
    info = CacheInfo(TAXONOMY, text, WIDTH)
    method = Segmentation(SegmentationSettings(head=head), 6, info)
    batch = make_batch()
    features = torch.randn(len(batch), 6, requires_grad=True)
    if head == "linear":
        assert (method.logits(features) == 0).all()  # as ScaLR begins
        torch.nn.init.normal_(method.layer.weight)
    else:
        cosine = method.logits(features) * method.settings.temperature
        torch.testing.assert_close(
            cosine,
            torch.nn.functional.normalize(method.layer(method.norm(features))) @ torch.from_numpy(text).T,
        )
    batch.label[::2] = 255
    method.eval()
    losses = method(batch, features)
    gradient = torch.autograd.grad(losses["loss"], features)[0]
    assert (gradient[::2] == 0).all()
    assert (gradient[1::2] != 0).any(1).all()
    known = batch.label != 255
    logits = method.logits(features)[known]
    weight, label = batch.confidence[known], batch.label[known]
    log = logits.log_softmax(1)[torch.arange(len(label)), label]
    torch.testing.assert_close(losses["ce"], -(weight * log).sum() / weight.sum())
