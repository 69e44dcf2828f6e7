"""The panoptic method: overfits, learns from base classes alone, resumes, labels runs, refuses bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgen.core.errors import UserError
from labelgen.distill.classes import ClassSplit, load_class_split
from labelgen.distill.config import load_train_config
from labelgen.distill.log import read_log
from labelgen.distill.model import make_model
from labelgen.distill.needs import info_of, open_for_training
from labelgen.distill.panoptic.score import score_panoptic
from labelgen.distill.panoptic.variants import VARIANTS, overrides
from labelgen.distill.predict import load_predictor
from labelgen.distill.protocols import Task, run_task
from labelgen.distill.samples import FrameTransform, join
from labelgen.distill.splits import split_frames
from labelgen.distill.state import read_model
from labelgen.distill.train import train
from labelgen.metrics.panoptic import PanopticScore
from tests.helpers.training_runs import TAXONOMY, Samples, make_training_run

SMALL = [
    "backbone=waffleiron-3-16",
    "backbone_settings={cell: 1.0, low: [-16, -16, -4], high: [16, 16, 8], neighbours: 6}",
    "runtime={workers: 0, threads: 1, log_every: 1, device: cpu}",
    "optimizer={batch_size: 2, warmup: 0, ema: 0}",
    "settings.vocabulary=classes",
    "settings.decoder={width: 32, layers: 2, queries: 8, heads: 2, hidden: 32, span: [16, 16, 8]}",
]
NO_TREES = ["settings.novel=[tree]"]


def settings(*more: str):
    return load_train_config("panoptic", None, None, [*SMALL, *more])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return open_for_training(make_training_run(tmp_path_factory.mktemp("run")))


def batch_of(opened, model, frames=2, truth=True, training=False):
    transform = FrameTransform(
        opened, opened.frames[:frames], model.method.needs, settings().data, neighbours=6, bounds=None,
        training=training, truth=truth, classes=model.method.classes,
    )  # fmt: skip
    return join([Samples(transform)[0, n] for n in range(frames)])


def losses_and_gradients(model, batch):
    torch.manual_seed(0)
    model.zero_grad()
    losses = model(batch)
    losses["loss"].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in losses.items()}, gradients


def make(opened, *more):
    torch.manual_seed(0)
    return make_model(settings(*more), info_of(opened))


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def seen_cars(opened, frame_id) -> int:
    """Cars of which a camera sees at least a few points."""
    label, instance = opened.frame(frame_id).objects
    seen = opened.frame(frame_id).labels.views > 0
    return sum(
        int((seen & (label == 1) & (instance == n)).sum() > 9) for n in np.unique(instance[label == 1])
    )


@pytest.mark.parametrize("novel", [[], NO_TREES], ids=["all", "base"])
def test_it_overfits_one_frame(opened, tmp_path, novel):
    config = settings(
        *novel,
        "optimizer={epochs: 110, batch_size: 1, learning_rate: 0.004}",
        "data={rotate: false, flip: 0, scale: 0, voxel: 0.01}",
    )
    # Nothing tells an object that no camera sees from one of a novel class.
    frame_id = next(f for f in opened.frames if seen_cars(opened, f) == 2)
    predictor = train(opened, config, [frame_id], tmp_path, truth=True)
    hidden = predictor.model.method.classes.is_novel()
    truth, instance = opened.frame(frame_id).objects
    truth[hidden[truth]] = 255  # what it was never told is not asked for
    found = PanopticScore(TAXONOMY.names, [False, True, False], 1)
    _, labels = next(predictor.labels(opened, [frame_id]))
    found.update(truth, instance, labels.label, labels.instance)
    scores = found.result()["classes"]
    assert all(scores[name]["pq"] >= 0.95 for name in TAXONOMY.names[: 2 if novel else 3]), scores
    assert scores["car"]["tp"] == 2
    assert set(labels.instance[labels.label == 1]) >= {1, 2}
    assert not labels.instance[labels.label != 1].any()
    again = load_predictor(tmp_path, info_of(opened), torch.device("cpu"))
    _, theirs = next(again.labels(opened, [frame_id]))
    assert np.array_equal(labels.label, theirs.label)
    assert np.array_equal(labels.instance, theirs.instance)


@pytest.mark.parametrize("rest", ["ignored", "other"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_truth_of_novel_classes_changes_no_bit_of_losses_and_gradients(tmp_path, variant, rest):
    """Cars and trees change places, or are unlabelled: nothing that is learned from ground alone notices."""
    made = [
        open_for_training(make_training_run(tmp_path / name, ("a",), 2)) for name in ("one", "two", "three")
    ]
    for other, table in ((made[1], [0, 1, 3, 2]), (made[2], [0, 1, 0, 0])):
        for frame_id in other.frames:
            ids = np.fromfile(other.root / f"{frame_id}.bin", np.uint8)
            known = ids < 4
            changed = np.where(known, np.array(table, np.uint8)[np.minimum(ids, 3)], ids)
            changed.tofile(other.root / f"{frame_id}.bin")
            stored = np.load(other.root / f"{frame_id}.npz")["data"]
            np.savez(other.root / f"{frame_id}.npz", data=changed.astype(np.uint16) * 1000 + stored % 1000)
    found = []
    for one in made:
        model = make(one, *overrides(variant), "settings.novel=[car, tree]", f"settings.unlabelled={rest}")
        found.append(losses_and_gradients(model, batch_of(one, model, training=True)))
    for losses, gradients in found[1:]:
        assert same(losses, found[0][0])
        assert same(gradients, found[0][1])
    model = make(made[0], *overrides(variant))  # with all classes known, they do count
    assert not same(losses_and_gradients(model, batch_of(made[0], model))[0], found[0][0])


def test_novel_names_change_nothing_that_is_learned(opened):
    """Their texts are read at a test only: weights at the start, losses and gradients know none of them."""
    one = make(opened, *NO_TREES)
    text = info_of(opened).text_embeddings.copy()
    text[2] = np.roll(text[2], 3)
    torch.manual_seed(0)
    two = make_model(settings(*NO_TREES), replace(info_of(opened), text_embeddings=text))
    assert not torch.equal(one.method.head.text, two.method.head.text)
    assert same(dict(one.named_parameters()), dict(two.named_parameters()))
    batch = batch_of(opened, one)
    for a, b in zip(losses_and_gradients(one, batch), losses_and_gradients(two, batch), strict=True):
        assert same(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_part_of_a_variant_learns(opened, variant):
    model = make(opened, *overrides(variant), *NO_TREES)
    losses, gradients = losses_and_gradients(model, batch_of(opened, model))
    parts = {"loss", "mask", "dice", "place", "class", "semantic"}
    parts |= {"object"} if variant in ("object", "full") else set()
    parts |= {"voxel"} if variant == "full" else set()
    assert set(losses) == parts
    torch.testing.assert_close(losses["loss"], sum(losses[name] for name in parts - {"loss"}))
    idle = {name for name, p in model.named_parameters() if p.numel() and name not in gradients}
    assert not idle
    assert (model.method.unseen.numel() > 0) == (variant != "pfc")


#: Queries that lean on points and on image features.
GUIDED = "settings.decoder={width: 32, layers: 2, queries: 8, heads: 2, seeds: 2, reach: 2, shortcut: true}"


def test_guided_queries_learn_and_lean_on_what_the_cameras_say(opened):
    model = make(opened, GUIDED, *NO_TREES)
    losses, gradients = losses_and_gradients(model, batch_of(opened, model))
    assert torch.isfinite(losses["loss"])
    assert not {name for name, p in model.named_parameters() if p.numel() and name not in gradients}
    batch, features = one_frame(model, opened)
    method = model.method.eval()
    with torch.inference_mode():
        image, seen = method.image(batch)
        feature, place = method._points(batch, features, image, seen)
        one = method._decode(batch, slice(None), feature, place, image, seen)[0]
        method.decoder.shortcut = False
        two = method._decode(batch, slice(None), feature, place, image, seen)[0]
        method.decoder.fade = None
        three = method._decode(batch, slice(None), feature, place, image, seen)[0]
    assert torch.equal(one.mask, two.mask)
    faded = (three.mask - two.mask).clamp_min(0).sqrt()
    rows = (faded > 0.1).any(1).nonzero()[:, 0].tolist()
    assert 0 < len(rows) <= 2
    for row in rows:  # metres over two
        seed = int(faded[row].argmin())
        away = (batch.xyz - batch.xyz[seed]).norm(dim=1)
        torch.testing.assert_close(faded[row], away / 2, atol=2e-2, rtol=1e-3)
    hard = (one.mask[:, seen] > 0).float()
    hard[len(method.decoder.queries) :] = 0  # stuff is of a class from the start
    mean = torch.nn.functional.normalize(hard @ image[seen], dim=1)
    torch.testing.assert_close(one.embedding - two.embedding, mean, atol=1e-5, rtol=0)
    segments = method.segments(*one_frame(model, opened, blind=True))
    assert torch.isfinite(segments.confidence).all()


def test_without_fusion_guided_queries_see_no_image(opened):
    looks = "settings.inference={looks: 4}"
    model = make(opened, GUIDED, looks, *NO_TREES, *overrides("pfc"))
    batch = batch_of(opened, model)
    other = replace(batch, region_feature=batch.region_feature.flip(0))
    for a, b in zip(losses_and_gradients(model, batch), losses_and_gradients(model, other), strict=True):
        assert same(a, b)
    assert not len(model.method._looks(*model.method.image(batch))[0])


def test_points_that_look_alike_are_a_segment_of_novel_stuff_and_of_nothing_else(opened):
    """Of points that look like ground, car and tree, trees alone become a segment, if trees are novel."""
    text = torch.from_numpy(info_of(opened).text_embeddings)
    image, seen = text.repeat_interleave(4, 0), torch.arange(12) % 4 > 0
    for novel, named in (("tree", {2}), ("car", set()), (None, set())):
        model = make(
            opened, "settings.inference={looks: 4}", *([f"settings.novel=[{novel}]"] if novel else [])
        )
        mask, probability = model.method._looks(image * seen[:, None], seen)
        sure = (probability > 0.5).nonzero().tolist()
        assert {kind for _, kind in sure} == named
        for group, kind in sure:
            inside = (mask[group] > 0).nonzero()[:, 0].tolist()
            assert inside
            assert set(inside) <= {4 * kind + n for n in (1, 2, 3)}
    batch, features = one_frame(model := make(opened, "settings.inference={looks: 4}", *NO_TREES), opened)
    with torch.inference_mode():
        plain = make(opened, *NO_TREES).method.eval().segments(batch, features)
        named = model.method.eval().segments(batch, features)
    assert (named.label == 2).sum() > (plain.label == 2).sum()
    assert not named.instance[named.label == 2].any()


def test_image_features_are_the_mean_of_the_views_and_none_where_no_camera_sees(opened):
    model = make(opened)
    batch = batch_of(opened, model)
    image, seen = model.method.image(batch)
    point, region = batch.view_point.tolist(), batch.view_region.tolist()
    for n in range(len(batch)):
        own = [batch.region_feature[k] for p, k in zip(point, region, strict=True) if p == n and k >= 0]
        assert bool(seen[n]) == bool(own)
        want = torch.stack(own).mean(0) if own else torch.zeros(8)
        torch.testing.assert_close(image[n], torch.nn.functional.normalize(want, dim=0))
    assert 0 < seen.sum() < len(batch)


def test_unseen_points_are_left_out_of_both_distillations(opened):
    """Without any view, L_O and L_V are 0; what is known of seen points does not depend on unseen ones."""
    model = make(opened, "settings.fusion=false")
    batch = batch_of(opened, model)
    blind = replace(batch, view_point=batch.view_point[:0], view_region=batch.view_region[:0])
    losses, _ = losses_and_gradients(model, blind)
    assert losses["object"] == losses["voxel"] == 0
    assert losses["mask"] > 0
    segments = model.eval().method.segments(*one_frame(model, opened, blind=True))
    assert torch.isfinite(segments.confidence).all()


def one_frame(model, opened, blind=False):
    batch = batch_of(opened, model, frames=1)
    if blind:
        batch = replace(batch, view_point=batch.view_point[:0], view_region=batch.view_region[:0])
    return batch, model.features(batch)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("kind", ["no labels", "only stuff", "only things", "one class", "more objects"])
def test_poor_frames_give_finite_losses(opened, kind, everywhere):
    model = make(opened, f"settings.unlabelled={'other' if everywhere else 'ignored'}")
    batch = batch_of(opened, model)
    label, instance = batch.label.clone(), batch.instance.clone()
    if kind == "no labels":
        label[:], instance[:] = 255, -1
    elif kind == "only stuff":
        instance[:] = -1
        label[label == 1] = 0
    elif kind == "only things":
        label[label != 1] = 255
    elif kind == "one class":
        label[:], instance[:] = 2, -1
    else:  # than queries
        label[:] = 1
        instance = torch.arange(len(batch)) // 6
    losses, gradients = losses_and_gradients(model, replace(batch, label=label, instance=instance))
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(value).all() for value in gradients.values())


def test_a_training_that_was_stopped_goes_on_to_the_same_losses(opened, tmp_path):
    config = settings(*NO_TREES, "optimizer={epochs: 3, ema: 0.9}", "runtime.save_minutes=0")

    def kill(step, line):
        if step == 3:
            raise KeyboardInterrupt

    train(opened, config, opened.frames, tmp_path / "whole", truth=True)
    with pytest.raises(KeyboardInterrupt):
        train(opened, config, opened.frames, tmp_path / "two", truth=True, report=kill)
    train(opened, config, opened.frames, tmp_path / "two", truth=True)
    losses = [[float(line["loss"]) for line in read_log(tmp_path / name)] for name in ("whole", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for name, value in read_model(tmp_path / "whole")[0].items():
        torch.testing.assert_close(read_model(tmp_path / "two")[0][name], value, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="another training"):
        train(opened, settings(), opened.frames, tmp_path / "two", truth=True)


def test_it_is_scored_and_learns_from_pseudo_labels_without_any_truth(opened, tmp_path):
    config = settings("settings.labels=pseudo", "optimizer.epochs=2", *NO_TREES)
    task = Task(opened, config, split_frames(opened, "b"), tmp_path)
    assert not task.truth
    scores = run_task(task)["scores"]
    assert scores["frames"] == 2
    assert scores["network"]["panoptic"]["groups"]["novel stuff"]["classes"] == 1
    stored = score_panoptic(
        ((f, opened.frame(f).labels) for f in task.split.val), opened, load_class_split("all", TAXONOMY)
    )
    assert scores["labels"]["panoptic"]["pq"] == stored["panoptic"]["pq"]
    assert Task(opened, settings(), split_frames(opened, "b"), tmp_path).truth


def test_scores_are_those_of_the_points(opened):
    """A frame's truth, given as its labels, is perfect."""
    frame_id = opened.frames[0]
    label, instance = opened.frame(frame_id).objects
    given = replace(opened.frame(frame_id).labels, label=label, instance=(instance % 1000).astype(np.uint16))
    found = score_panoptic([(frame_id, given)], opened, ClassSplit("one", (0, 1), (2,)))
    assert found["panoptic"]["pq"] == found["miou_all"] == 1.0
    slow = PanopticScore(TAXONOMY.names, [False, True, False], 15)
    slow.update(label, instance, given.label, given.instance)
    assert found["panoptic"]["classes"] == slow.result()["classes"]


def test_what_cannot_be_is_refused(opened, tmp_path):
    for more, words in (
        (["settings.novel=[bus]"], "'bus' is not a class of taxonomy toy"),
        (["settings.novel=[car, tree, ground]"], "every class is novel"),
        (["settings.vocabulary=words"], "text encoder.*vocabulary=classes"),
        (["settings.loss.voxel=-1"], r"loss\.voxel"),
        (["settings.decoder.heads=7"], "heads"),
        (["settings.head=softmax"], "head"),
    ):
        with pytest.raises(UserError, match=words):
            make_model(settings(*more), info_of(opened))
    with pytest.raises(UserError, match="text_embeddings"):
        make_model(settings(), replace(info_of(opened), text_embeddings=None))
    lean = open_for_training(make_training_run(tmp_path, features=False))
    with pytest.raises(UserError, match="regions/feature"):
        train(lean, settings(), lean.frames, tmp_path / "out", truth=True)
    for content in (b"", b"\x80\x04\x95"):
        (tmp_path / "bad.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.safetensors"):
            load_predictor(tmp_path / "bad.safetensors", info_of(opened), torch.device("cpu"))
