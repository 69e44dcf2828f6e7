"""Pre-training methods on small batches: what they compute, what they ask for, what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.distill.batch import Batch
from labelgen.distill.methods import CacheInfo
from labelgen.distill.registry import make_method
from labelgen.semantics.prompts import Vocabulary
from tests.helpers.methods import PRETRAINING
from tests.unit.distill import literal

TAXONOMY = load_taxonomy("nuscenes16")
C, D, WIDTH = len(TAXONOMY), 24, 10
NAMES = PRETRAINING


def unit(count: int, width: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def vocabulary() -> Vocabulary:
    """Two words per class, and one void word."""
    owner = np.append(np.repeat(np.arange(C), 2), C).astype(np.int32)
    return Vocabulary(C, unit(len(owner), D, 7), owner)


def info(**changes) -> CacheInfo:
    return replace(CacheInfo(TAXONOMY, unit(C, D, 8), D, None, vocabulary), **changes)


def batch(N: int = 60, V: int = 150, K: int = 12, seed: int = 0) -> Batch:
    """Two frames with the first and last half of the points and regions; some views fall in no region."""
    torch.manual_seed(seed)
    frame = (torch.arange(N) * 2) // max(1, N)
    point = torch.randint(0, max(1, N), (V if N else 0,))
    inside = frame[point] * (K // 2) + torch.randint(0, max(1, K // 2), point.shape)
    region = torch.where(torch.rand(point.shape) < 0.2, -1, inside) if K else torch.full_like(point, -1)
    label = torch.randint(0, C, (K,))
    label[::5] = 255
    xyz = torch.randn(N, 3)
    return Batch(
        frame_id=("a", "b"),
        xyz=xyz,
        inputs=torch.cat([xyz, xyz[:, :2]], 1),
        frame=frame,
        view_point=point,
        view_camera=torch.zeros_like(point),
        view_uv=torch.zeros(len(point), 2),
        view_region=region,
        region_frame=(torch.arange(K) * 2) // max(1, K),
        region_camera=torch.zeros(K).long(),
        region_label=label,
        region_scores=torch.rand(K, C),
        region_feature=normalize(torch.randn(K, D), dim=1),
        caption_feature=normalize(torch.randn(K, D), dim=1),
    )


def features(count: int) -> torch.Tensor:
    drawn = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(1))
    return drawn.requires_grad_()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_teaches_backbone_and_heads(name):
    method, given = make_method(name, {}, WIDTH, info()), features(60)
    losses = method(batch(), given)
    losses["loss"].backward()
    assert losses["loss"].item() > 0
    assert given.grad.abs().sum() > 0
    for parameter in method.parameters():
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name):
    """With free features every method can fit one batch."""
    torch.manual_seed(0)
    method, given, fixed = make_method(name, {}, WIDTH, info()), features(60), batch()
    optimizer = torch.optim.Adam([given, *method.parameters()], lr=0.02)
    values = []
    for _ in range(25):
        loss = method(fixed, given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(0, 0, 0), (60, 0, 12), (60, 150, 0)], ids=["points", "views", "regions"])
def test_a_batch_without_anything_to_learn(name, sizes):
    given = features(sizes[0])
    loss = make_method(name, {}, WIDTH, info())(batch(*sizes), given)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert not given.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_one_region_and_only_void_give_finite_losses(name):
    method = make_method(name, {}, WIDTH, info())
    one = batch()
    one = replace(one, view_region=torch.where(one.view_region >= 0, 1, -1))
    for case in (one, replace(one, region_label=torch.full((12,), 255))):
        given = features(60)
        loss = method(case, given)["loss"]
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(given.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_features_give_float32_losses(name):
    method, given = make_method(name, {}, WIDTH, info()), features(60).detach()
    torch.manual_seed(0)
    exact = method(batch(), given.bfloat16().float())["loss"]
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method(batch(), given.bfloat16())["loss"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_asked_for_is_read(name):
    method, whole = make_method(name, {}, WIDTH, info()), batch()
    optional = [field for field in vars(whole) if field.startswith(("view_", "region_", "caption_"))]
    bare = replace(whole, **{field: None for field in optional if field not in method.needs})
    torch.manual_seed(0)
    first = method(whole, features(60))["loss"]
    torch.manual_seed(0)
    assert first == method(bare, features(60))["loss"]


def test_slidr_is_infonce_of_region_means():
    method, given, whole = make_method("slidr", {}, WIDTH, info()), features(60), batch()
    points = method.point_head(given)
    region = whole.view_region.tolist()
    means = literal.region_means(points[whole.view_point], region, 12)
    rows = [k for k, mean in enumerate(means) if mean is not None]
    images = method.image_head(whole.region_feature[rows])
    slow = literal.info_nce(torch.stack([means[k] for k in rows]), images, 0.07)
    torch.testing.assert_close(method(whole, given)["loss"], slow, rtol=1e-4, atol=1e-4)


def test_ppkt_draws_as_many_pairs_as_asked():
    whole, given = batch(), features(60)
    method = make_method("ppkt", {"pairs": 2}, WIDTH, info())
    method(whole, given)["loss"].backward()
    assert 1 <= int((given.grad.abs().sum(1) > 0).sum()) <= 2


def test_openscene_fuses_the_cameras_and_scalr_does_not():
    """One point, two views whose features are orthogonal."""
    seen = replace(
        batch(N=1, V=2, K=2),
        view_point=torch.zeros(2).long(),
        view_region=torch.tensor([0, 1]),
        region_feature=torch.eye(D)[:2],
    )
    fused = torch.zeros(1, D)
    fused[0, :2] = 0.5**0.5
    for name, want in (("openscene", 0.0), ("scalr", (2 - 2**0.5) ** 0.5)):
        method = make_method(name, {}, D, info())
        torch.nn.init.eye_(method.head.weight)
        torch.nn.init.zeros_(method.head.bias)
        assert method(seen, fused)["loss"].item() == pytest.approx(want, abs=1e-5)


def test_tmp_gives_a_region_the_nearest_word_of_its_class():
    method, words = make_method("tmp", {}, WIDTH, info()), vocabulary()
    assert len(method.text) == 2 * C  # void words are not targets
    look = torch.from_numpy(words.word_feature[[5, 6, 6]])
    label = torch.tensor([2, 3, 2])
    found = method.words(look, label)
    assert found[:2].tolist() == [5, 6]
    assert found[2] in (4, 5)  # of class 2, though a word of class 3 is nearer


def test_tmp_leaves_void_regions_out():
    method, whole = make_method("tmp", {}, WIDTH, info()), batch()
    void = whole.region_label == 255
    other = torch.where(void[:, None], -whole.region_feature, whole.region_feature)
    given = features(60)
    assert method(whole, given)["loss"] == method(replace(whole, region_feature=other), given)["loss"]


VLM = {
    "none": ({"contrast": "point", "rsa": False, "rcp": False}, {"contrast"}),
    "sfr": ({"rsa": False, "rcp": False}, {"contrast"}),
    "rsa": ({"contrast": "point", "rcp": False}, {"contrast", "rsa"}),
    "rcp": ({"contrast": "point", "rsa": False}, {"contrast", "rcp"}),
    "unfiltered": ({"contrast": "region"}, {"contrast", "rsa", "rcp"}),
    "all": ({}, {"contrast", "rsa", "rcp"}),
}


@pytest.mark.parametrize("name", VLM)
def test_vlm2scene_components_switch(name):
    settings, parts = VLM[name]
    losses = make_method("vlm2scene", settings, WIDTH, info())(batch(), features(60))
    assert set(losses) == parts | {"loss"}
    torch.testing.assert_close(losses["loss"], sum(losses[part] for part in parts))


def test_vlm2scene_asks_for_captions_only_if_it_reads_them():
    def needs(**settings):
        return set(make_method("vlm2scene", settings, WIDTH, info()).needs)

    assert "caption_feature" in needs()
    assert "caption_feature" in needs(contrast="point", rsa=False)
    assert "caption_feature" not in needs(text="class")
    assert "caption_feature" not in needs(contrast="region", rcp=False)
    assert "region_label" not in needs(rsa=False, text="caption")


def test_vlm2scene_texts_are_captions_and_classes():
    whole = batch()
    some = torch.arange(12) < 6
    whole = replace(whole, caption_feature=whole.caption_feature * some[:, None])
    void = whole.region_label == 255

    def told(text):
        method = make_method("vlm2scene", {"text": text}, WIDTH, info())
        texts, has = method._text(whole)
        return texts, has, method.class_text

    texts, has, _ = told("caption")
    assert torch.equal(has, some)
    texts, has, names = told("class")
    assert torch.equal(has, ~void)
    assert torch.equal(texts[~void], names[whole.region_label[~void]])
    texts, has, names = told("both")
    assert torch.equal(has, some | ~void)
    assert torch.equal(texts[some], whole.caption_feature[some])
    assert torch.equal(texts[~some & ~void], names[whole.region_label[~some & ~void]])


def test_vlm2scene_filter_drops_negatives_that_fit_the_text():
    """Two regions with one look and one text: filtered, nothing is left to tell them apart."""
    whole = batch()
    same = replace(
        whole,
        view_region=torch.where(whole.view_region >= 0, whole.view_region % 2, -1),
        region_feature=whole.region_feature[:1].expand(12, -1),
        caption_feature=whole.caption_feature[:1].expand(12, -1),
    )
    only = {"rsa": False, "rcp": False}
    filtered = make_method("vlm2scene", only, WIDTH, info())(same, features(60))["loss"]
    plain = make_method("vlm2scene", {**only, "contrast": "region"}, WIDTH, info())(same, features(60))[
        "loss"
    ]
    assert filtered.item() == pytest.approx(0, abs=1e-6)
    assert plain.item() > 0.1


def test_vlm2scene_assigns_the_class_of_most_views():
    method = make_method("vlm2scene", {"contrast": "point", "rcp": False}, D, info())
    torch.nn.init.eye_(method.head.linear.weight)
    torch.nn.init.zeros_(method.head.linear.bias)
    seen = replace(
        batch(N=1, V=4, K=4),
        view_point=torch.zeros(4).long(),
        view_region=torch.tensor([0, 1, 2, 3]),
        region_label=torch.tensor([3, 255, 5, 5]),
    )
    given = features(1).detach().new_ones(1, D)
    slow = literal.assignment(normalize(given, dim=1), method.class_text, [5], 0.07)
    torch.testing.assert_close(method(seen, given)["rsa"], slow)


def test_the_heads_of_text_space_embed_points():
    for name in NAMES:
        method = make_method(name, {}, WIDTH, info())
        embedded = method.embed(features(5))
        if name in ("ppkt", "slidr", "st-slidr"):
            assert embedded is None
        else:
            torch.testing.assert_close(embedded.norm(dim=1), torch.ones(5))


def test_a_pretrained_head_predicts_by_cosines_with_the_texts_or_not_at_all():
    given = features(60).detach()
    for name in NAMES:
        method = make_method(name, {}, WIDTH, info()).eval()
        assert not method.finds_segments
        assert method.gives_classes(info()) == (name not in ("ppkt", "slidr", "st-slidr"))
        assert not method.gives_classes(info(text_embeddings=None))
        assert not method.gives_classes(info(text_embeddings=unit(C, D + 1, 8)))
        if method.gives_classes(info()):
            with torch.no_grad():
                found = method.predict(batch(), given, info()).probability.numpy()
                point = method.embed(given).numpy().astype(np.float64)
            raised = np.exp(point @ unit(C, D, 8).T / 0.01)
            np.testing.assert_allclose(found, raised / raised.sum(1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_without_features_is_refused(name):
    with pytest.raises(UserError, match=r"regions/feature.*labelgen run"):
        make_method(name, {}, WIDTH, info(feature_width=None))


def test_caches_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"text_embeddings.*labelgen run"):
        make_method("vlm2scene", {}, WIDTH, info(text_embeddings=None))
    with pytest.raises(UserError, match=r"text_embeddings is \(16, 8\).*24 wide"):
        make_method("vlm2scene", {}, WIDTH, info(text_embeddings=unit(C, 8, 0)))
    with pytest.raises(UserError, match="vocabulary=classes"):
        make_method("tmp", {}, WIDTH, info(vocabulary=None))
    with pytest.raises(UserError, match="24 wide and regions/feature 12"):
        make_method("tmp", {}, WIDTH, info(feature_width=12))
    make_method("tmp", {"vocabulary": "classes"}, WIDTH, info(vocabulary=None))


def test_unknown_methods_and_settings_are_refused():
    with pytest.raises(UserError, match=r"unknown method 'sldir'.*slidr"):
        make_method("sldir", {}, WIDTH, info())
    for settings in ({"temperature": 0}, {"tau": 1}, {"contrast": "pixels"}):
        with pytest.raises(UserError, match="vlm2scene"):
            make_method("vlm2scene", settings, WIDTH, info())
