"""Segments by the published rules, the ensemble's equation, words, seeds, what a frame asks for."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from labelgen.core.records import Reason
from labelgen.core.taxonomy import load_taxonomy
from labelgen.distill.batch import NONE
from labelgen.distill.config import load_train_config
from labelgen.distill.methods.base import CacheInfo
from labelgen.distill.model import make_model
from labelgen.distill.panoptic.appearance import look_masks
from labelgen.distill.panoptic.decoder import Prediction
from labelgen.distill.panoptic.objective import Objective
from labelgen.distill.panoptic.seeds import thing_seeds
from labelgen.distill.panoptic.segment_targets import find_segment_targets
from labelgen.distill.panoptic.segments import (
    allowed_classes,
    ensemble,
    find_segments,
    image_embedding,
)
from labelgen.distill.panoptic.text import TextHead
from labelgen.distill.predict import segments_as_labels
from labelgen.distill.settings.panoptic import (
    EnsembleSettings,
    InferenceSettings,
    LossSettings,
    PanopticSettings,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import panoptic as study

# Classes: 0 base thing, 1 novel thing, 2 base stuff, 3 novel stuff. Three learned queries, one of stuff 2.
THING = torch.tensor([True, True, False, False])
RULES = InferenceSettings()


def masks(*rows: str) -> torch.Tensor:
    """Logits of masks from strings: x inside, o weakly inside, . outside."""
    value = {"x": 4.0, "o": 0.5, ".": -4.0}
    return torch.tensor([[value[c] for c in row] for row in rows])


def found(mask, probability, **rules):
    return find_segments(mask, torch.tensor(probability), 3, THING, InferenceSettings(**rules))


def test_each_point_goes_to_the_best_segment():
    got = found(
        masks("xx......", "..xx....", "....xx..", "oooo..xx"),
        [[0.9, 0, 0, 0], [0.1, 0.8, 0, 0], [0, 0, 0, 0.7], [0, 0, 0.9, 0]],
        overlap=0,
    )
    assert got.label.tolist() == [0, 0, 1, 1, 3, 3, 2, 2]
    assert got.instance.tolist() == [1, 1, 2, 2, 0, 0, 0, 0]  # stuff, base or novel, has no number
    sure = [0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.9, 0.9]
    want = torch.tensor(sure) / (1 + math.exp(-4.0))
    torch.testing.assert_close(got.confidence, want)
    assert ((got.margin > 0) & (got.margin <= 1)).all()


def test_learned_queries_count_twice_and_weak_ones_not_at_all():
    mask = masks("xxxx", "xxxx", "....", "xxxx")
    two = [[0.3, 0, 0, 0], [0, 0.15, 0, 0], [0, 0, 0, 0], [0, 0, 0.5, 0]]
    assert found(mask, two, overlap=0).label.tolist() == [0] * 4  # 2 x 0.3 above 0.5
    assert found(mask, two, overlap=0, learned_weight=1.0).label.tolist() == [2] * 4
    assert found(mask, two, overlap=0, keep=0.7).label.tolist() == [255] * 4


def test_a_segment_that_loses_most_of_its_mask_is_dropped():
    mask = masks("xxxxxxxxxx", "xxxx......", "..........", "..........")
    got = found(mask, [[0.5, 0, 0, 0], [0, 0.9, 0, 0], [0] * 4, [0] * 4])
    assert got.label.tolist() == [1] * 4 + [255] * 6  # 6 of 10 are less than 0.8
    assert got.instance.tolist() == [1] * 4 + [0] * 6  # numbers go on without the dropped one
    assert not got.confidence[4:].any()
    assert found(mask, [[0.5, 0, 0, 0], [0, 0.9, 0, 0], [0] * 4, [0] * 4], overlap=0.6).label[9] == 0


def test_nothing_to_find():
    for mask, probability in (
        (masks("..", "..", "..", ".."), [[0.0] * 4] * 4),
        (torch.zeros(4, 0), [[0.9] * 4] * 4),
    ):
        got = found(mask, probability)
        assert (got.label == 255).all()
        assert not got.instance.any()


def test_learned_queries_are_anything_but_base_stuff():
    assert allowed_classes(2, [2], 4).tolist() == [[True, True, False, True]] * 2 + [
        [False, False, True, False]
    ]
    assert allowed_classes(1, [], 2).tolist() == [[True, True]]


def test_the_ensemble_is_its_equation():
    torch.manual_seed(0)
    rules = EnsembleSettings(base=0.4, novel=0.8, temperature=0.1)
    logits, cosines = torch.randn(4, 4).double(), torch.rand(4, 4).double()
    cosines[1] = torch.nan
    allowed = allowed_classes(3, [2], 4)
    got = ensemble(logits, cosines, [1, 3], allowed, rules)
    for q in range(4):
        own = [c for c in range(4) if allowed[q, c]]
        inside = np.exp([float(logits[q, c]) for c in own])
        outside = np.exp([float(cosines[q, c]) / 0.1 for c in own])
        a = np.array([0.8 if c in (1, 3) else 0.4 for c in own])
        both = (inside / inside.sum()) ** (1 - a) * (outside / outside.sum()) ** a
        if q == 1:
            both = inside
        best = max(float(logits[q, c]) for c in own)
        want = np.zeros(4)
        want[own] = both / both.sum() / (1 + math.exp(-best))
        np.testing.assert_allclose(got[q].numpy(), want, rtol=1e-9)


def test_image_features_of_a_mask_are_those_of_its_seen_points():
    image = torch.tensor([[1.0, 0], [0, 1], [0, 0], [1, 0]])
    seen = image.any(1)
    got = image_embedding(masks("xxx.", "..x.", "x..x"), image, seen)
    torch.testing.assert_close(got[0], torch.tensor([0.5**0.5, 0.5**0.5]))
    assert got[1].isnan().all()
    torch.testing.assert_close(got[2], torch.tensor([1.0, 0]))


def test_of_several_words_the_best_counts():
    words = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    head = TextHead(words, torch.tensor([0, 0, 1]), 0.05, [0, 1])
    cosines = head.cosines(torch.tensor([[0.0, 2.0, 0.0], [3.0, 0, 4.0]]))
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    scale, margin = head.log_scale.exp(), head.margin
    logits = head(torch.tensor([[0.0, 2.0, 0.0]]))[0]
    torch.testing.assert_close(
        logits, scale * (cosines[0] - 1 / 3 - margin)
    )  # the mean text is (1, 1, 1) / 3
    torch.testing.assert_close(scale.detach(), torch.tensor(20.0))


def test_seeds_lie_on_things_and_far_apart():
    xyz = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [9, 0, 0], [9, 0.1, 0], [0, 9, 0], [50, 50, 0]])
    none = torch.zeros(6, 0)
    thing = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.55, 0.1])
    assert thing_seeds(xyz, none, thing, 3).tolist()[0] == 0
    assert {n // 2 for n in thing_seeds(xyz, none, thing, 3).tolist()} == {0, 1, 2}
    assert sorted(thing_seeds(xyz, none, thing, 9).tolist()) == [0, 1, 2, 3, 4]
    assert thing_seeds(xyz, none, 0 * thing, 3).tolist() == thing_seeds(xyz, none, thing, 0).tolist() == []
    same = thing_seeds(0 * xyz, none, thing, 3).tolist()
    assert len(set(same)) == 3
    alike = torch.eye(2)[[0, 0, 0, 1, 0, 0]]  # as far apart as 4.2 m
    assert thing_seeds(0 * xyz, alike, thing, 2).tolist() == [0, 3]
    assert thing_seeds(xyz, alike, thing, 4).tolist()[3] == 2


def test_groups_of_looks_are_one_of_each():
    image = torch.eye(4)[[0, 0, 1, 1, 1, 2, 3]]
    image[6] = 0
    seen = image.any(1)
    mask, look = look_masks(image, seen, 3)
    inside = {tuple((row > 0).nonzero()[:, 0].tolist()) for row in mask}
    assert inside == {(0, 1), (2, 3, 4), (5,)}
    for row, mean in zip(mask, look, strict=True):
        torch.testing.assert_close(mean, image[int(row.argmax())])
    mask, _ = look_masks(image, seen, 9)
    assert mask.shape == (6, 7)
    assert (mask > 0).sum(0).tolist() == [1] * 6 + [0]
    for nothing in (look_masks(image, ~image.any(1) & seen, 3), look_masks(image, seen, 0)):
        assert nothing[0].shape == (0, 7)
        assert nothing[1].shape == (0, 4)


def test_a_frame_asks_for_objects_and_stuff_on_labelled_points():
    label = torch.tensor([0, 0, 0, 255, 2, 2, 0, 1, 0])
    instance = torch.tensor([5, 5, 7, -1, -1, -1, -1, 3, 3])
    got = find_segment_targets(label, instance, [0, 1], [2, 4], 2)
    assert got.rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert got.thing_mask.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0, 0, 0]]
    assert got.thing[1] == 0
    whole = find_segment_targets(label, instance, [0, 1], [2, 4], 2, everywhere=True)
    assert whole.stuff_rows.tolist() == list(range(9))
    assert whole.rows.equal(got.rows)
    assert got.stuff_rows.equal(got.rows)
    assert whole.thing_mask.equal(got.thing_mask)  # a novel object is nobody's outside
    assert not whole.stuff_mask[:, 3].any()
    assert whole.stuff_mask[:, whole.rows].equal(got.stuff_mask)
    assert got.stuff.tolist() == [0]  # the second class of stuff is not there
    assert got.stuff_mask.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0]]


def test_queries_without_an_object_are_to_keep_off_labelled_points():
    """One of three learned queries is given to the object; what the others hold is the loss."""
    label, instance = torch.tensor([0, 0, 2, 255]), torch.tensor([0, 0, -1, -1])
    targets = find_segment_targets(label, instance, [0], [2], 1)
    image, seen = torch.zeros(4, 3), torch.zeros(4, dtype=torch.bool)
    settings = PanopticSettings(loss=LossSettings(apart=0.5))
    logits = masks("..xx", "xx..", ".xox", "..x.")
    said = Prediction(logits, 0 * logits, torch.eye(4)[:, :3])
    parts = Objective(settings, [0, 2], [2], targets, image, seen).layer(said, None)
    share = logits.sigmoid()[[0, 2], :3]
    torch.testing.assert_close(parts["apart"], 0.5 * share.sum(0).mean())
    assert "apart" not in Objective(PanopticSettings(), [0, 2], [2], targets, image, seen).layer(said, None)


def test_raw_points_take_the_answer_of_theirs():
    got = found(masks("xx", "..", "..", ".."), [[0.9, 0, 0, 0]] + [[0.0] * 4] * 3)
    raw = np.array([1, NONE, 0, 0])
    labels = segments_as_labels(got, raw, np.array([1, 0, 2, 0], np.uint8))
    assert labels.label.tolist() == [0, 255, 0, 0]
    assert labels.instance.tolist() == [1, 0, 1, 1]
    assert labels.views.tolist() == [1, 0, 2, 0]
    assert labels.reason.tolist() == [Reason.LABELLED, Reason.NO_RETURN, Reason.LABELLED, Reason.LABELLED]
    empty = segments_as_labels(None, np.full(3, NONE), np.zeros(3, np.uint8))
    assert empty.label.tolist() == [255] * 3


@pytest.mark.parametrize("name", study.TRAININGS)
def test_every_row_of_the_study_can_be_trained_and_is_shown(name):
    taxonomy = load_taxonomy("nuscenes16")
    unit = next(iter(study.units(1, [study.Variant(name, "panoptic", study.settings_of(name))])))
    config = study.configure("panoptic", study.SIZES["cpu"], unit, 40, 10)
    assert config.optimizer.max_steps == 40
    text = np.eye(len(taxonomy), 24, dtype=np.float32)
    config = config.model_copy(update={"settings": config.settings | {"vocabulary": "classes"}})
    method = make_model(config, CacheInfo(taxonomy, text, 24)).method
    assert len(method.classes.novel) == (0 if name == "pseudo" else 4)
    shown = study.table({(row, "PQ"): {0: 12.34} for row in study.TRAININGS[name]})
    for row in study.TRAININGS[name]:
        line = next(line for line in shown.splitlines() if line.startswith(f"| {study.ROWS[row]} "))
        assert "| 12.3 |" in line
    assert {row for rows in study.TRAININGS.values() for row in rows} == set(study.ROWS)


def test_sizes_may_say_what_they_mean_for_a_method():
    assert load_train_config("panoptic", "demo").settings["decoder"]["layers"] == 3
    assert load_train_config("panoptic", "base").settings == {}
    assert load_train_config("slidr", "demo").settings == load_train_config("slidr").settings
