"""The dense modes of an encoder from end to end: what they agree on, one pass an image, broken input."""

import numpy as np
import open_clip
import pytest
import torch

from labelgen.core.errors import UserError
from labelgen.core.records import Regions
from labelgen.core.taxonomy import load_taxonomy
from labelgen.geometry.rle import encode, parse
from labelgen.models.info import ModelInfo
from labelgen.regions.base import regions_of_runs
from labelgen.regions.frame import join_cameras
from labelgen.semantics.grid_overlap import cell_counts
from labelgen.semantics.mixing import within_masks
from labelgen.semantics.openclip import OpenClipEncoder
from labelgen.semantics.prompts import normalise
from labelgen.semantics.settings import OpenClipSettings
from labelgen.semantics.towers import ConvNext, Vit, make_tower
from tests.helpers.clip_towers import small_clip, small_convnext, small_resnet, small_vit

TOWERS = {"vit": small_vit, "resnet": small_resnet, "convnext": small_convnext}
CASES = [("vit", mode) for mode in ("maskclip", "naclip", "maskattn", "pool")]
CASES += [("resnet", mode) for mode in ("maskclip", "maskattn", "pool")]
CASES += [("convnext", "pool")]
INFO = ModelInfo("open_clip:test", "", "", "")


def tokenizer(texts):
    """Bytes as tokens."""
    rows = [[*text.encode()[:7], 63] for text in texts]
    return torch.tensor([[token % 63 for token in row[:-1]] + [63] * (9 - len(row)) for row in rows])


def make(tower="vit", **settings):
    visual = TOWERS[tower]()
    visual.image_mean, visual.image_std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.2)
    model = (small_clip(visual), tokenizer, INFO)
    return OpenClipEncoder(OpenClipSettings(**{"short_side": 96, **settings}), device="cpu", model=model)


@pytest.fixture(scope="module")
def taxonomy():
    return load_taxonomy("nuscenes16")


def picture(height=90, width=160, seed=0):
    """Smooth, so that neighbouring cells are alike and distant ones are not."""
    small = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(seed)) * 255
    big = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    return big[0].permute(1, 2, 0).to(torch.uint8).numpy()


def masks_of(height=90, width=160):
    masks = np.zeros((5, height, width), bool)
    masks[0] = True
    masks[1, 10:50, 20:70] = True
    masks[2, 40:90, 60:160] = True
    masks[3, height - 1, width - 1] = True  # one pixel in the corner; the fifth is empty
    return masks


def regions_in(masks, cameras=1, camera=0):
    runs = parse([encode(mask) for mask in masks], *masks.shape[1:])
    found = regions_of_runs(runs, masks.shape[1:])
    return join_cameras([found if number == camera else None for number in range(cameras)])


@pytest.mark.parametrize(("tower", "mode"), CASES)
@pytest.mark.parametrize("assignment", ["mean", "rsa"])
def test_every_mode_gives_semantics(taxonomy, tower, mode, assignment):
    encoder, regions = make(tower, mode=mode, assignment=assignment), regions_in(masks_of())
    got = encoder.encode([picture()], regions, taxonomy)
    length = np.linalg.norm(got.feature.astype(np.float32), axis=1)
    np.testing.assert_allclose(length, [1, 1, 1, 1, 0], atol=2e-3)
    assert got.label[4] == 255
    assert not got.class_scores[4].any()
    total = got.class_scores.astype(np.float64).sum(axis=1)
    assert (total <= 1.01).all()
    exact = got.class_scores.astype(np.float64)
    for k in range(4):  # the label is the best of the scores, or void has what they lack
        best = int(exact[k].argmax())
        assert got.label[k] in (best, 255)
        assert (got.label[k] == 255) <= (1 - total[k] >= exact[k, best] - 1e-3)
    if assignment == "mean":
        scores, label = encoder.vocabulary(taxonomy).score(got.feature, encoder.temperature)
        np.testing.assert_array_equal(got.class_scores, scores)
        np.testing.assert_array_equal(got.label, label)


@pytest.mark.parametrize(("tower", "mode"), CASES)
def test_one_pass_whatever_the_number_of_regions(taxonomy, tower, mode):
    encoder = make(tower, mode=mode)
    masks, seen = masks_of(), []
    visual = encoder.network.visual
    first = visual.trunk.stem if tower == "convnext" else visual.conv1
    first.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    encoder.encode_with_dense([picture()], regions_in(masks[:1]), taxonomy)
    once = list(seen)
    encoder.encode_with_dense([picture()], regions_in(np.repeat(masks, 30, axis=0)), taxonomy)
    assert len(once) == 1
    assert seen == once * 2


@pytest.mark.parametrize(("tower", "mode"), CASES)
def test_batches_of_windows_change_nothing_but_rounding(taxonomy, tower, mode):
    regions = regions_in(masks_of())
    many, single = make(tower, mode=mode), make(tower, mode=mode, batch_size=1)
    np.testing.assert_allclose(
        many.features([picture()], regions), single.features([picture()], regions), atol=1e-5
    )


@pytest.mark.parametrize(("tower", "mode"), [("vit", "maskclip"), ("vit", "naclip"), ("resnet", "maskclip")])
def test_a_region_has_the_mean_of_its_cells(tower, mode):
    encoder = make(tower, mode=mode)
    dense = encoder.dense([picture()])[0]
    h, w, _ = dense.feature.shape
    mask = np.zeros((90, 160), bool)
    y, x = np.mgrid[:90, :160] + 0.5
    cells = [(0, 0), (h - 1, 2), (1, w - 1)]
    area = []
    for i, j in cells:
        inside = (y * h // 90 == i) & (x * w // 160 == j)
        area.append((inside & ~mask).sum())
        mask |= inside
    got = encoder.features([picture()], regions_in(mask[None]))
    want = sum(a * dense.feature[i, j].astype(np.float32) for a, (i, j) in zip(area, cells, strict=True))
    assert got[0] @ normalise(want) > 0.9999


@pytest.mark.parametrize(("tower", "mode"), [("resnet", "pool"), ("convnext", "pool"), ("vit", "pool")])
def test_a_region_of_one_cell_has_the_maps_feature(tower, mode):
    encoder = make(tower, mode=mode)
    dense = encoder.dense([picture()])[0]
    mask = np.zeros((90, 160), bool)
    mask[0, 0] = True
    got = encoder.features([picture()], regions_in(mask[None]))
    np.testing.assert_allclose(got[0], dense.feature[0, 0], atol=2e-3)


def test_a_mask_hides_the_rest_of_the_image_from_the_last_attention():
    left = np.zeros((90, 90), bool)
    left[:, :30] = True
    key, value = (torch.randn(2, 4, 4, 16, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    counts = torch.from_numpy(cell_counts([encode(left)], (90, 90), (4, 4)))
    other_key, other_value = key.clone(), value.clone()
    other_key[:, :, 2:] += 5
    other_value[:, :, 2:] -= 3
    same = within_masks(other_key, other_value, counts)
    torch.testing.assert_close(within_masks(key, value, counts), same)
    everywhere = within_masks(other_key, other_value, torch.ones(1, 4, 4))
    assert (everywhere - within_masks(key, value, torch.ones(1, 4, 4))).abs().max() > 0.1


@pytest.mark.parametrize("tower", ["vit", "resnet"])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 3), (7, 1001), (1001, 7), (1, 5000), (33, 31), (480, 640)]
)
def test_odd_sizes(taxonomy, tower, height, width):
    masks = np.zeros((2, height, width), bool)
    masks[0] = True
    masks[1, 0, 0] = True
    got, maps = make(tower, mode="maskattn").encode_with_dense(
        [picture(height, width)], regions_in(masks), taxonomy
    )
    assert np.isfinite(got.feature.astype(np.float32)).all()
    assert (np.linalg.norm(got.feature.astype(np.float32), axis=1) > 0.99).all()
    assert maps[0].size == (height, width)
    np.testing.assert_allclose(np.linalg.norm(maps[0].feature.astype(np.float32), axis=2), 1, atol=2e-3)
    assert max(maps[0].feature.shape[:2]) <= 4 * min(maps[0].feature.shape[:2]) + 1


def test_grey_is_three_equal_channels(taxonomy):
    encoder, regions = make(mode="maskattn"), regions_in(masks_of())
    grey = picture()[..., 0]
    np.testing.assert_array_equal(
        encoder.features([grey], regions), encoder.features([np.stack([grey] * 3, axis=-1)], regions)
    )


@pytest.mark.parametrize("mode", ["crop", "maskclip", "pool"])
def test_missing_images(taxonomy, mode):
    encoder, regions = make(mode=mode, assignment="rsa"), regions_in(masks_of(), cameras=3, camera=1)
    got, maps = encoder.encode_with_dense([None, picture(), None], regions, taxonomy)
    assert [m is None for m in maps] == [True, False, True]
    alone = encoder.encode([picture()], regions_in(masks_of()), taxonomy)
    np.testing.assert_array_equal(got.feature, alone.feature)
    np.testing.assert_array_equal(got.class_scores, alone.class_scores)
    with pytest.raises(ValueError, match=r"regions 0\.\.4 lie in camera 1, which has no image"):
        encoder.encode([picture(), None, None], regions, taxonomy)
    nothing, maps = encoder.encode_with_dense([picture(), None], Regions.empty(), taxonomy)
    assert nothing.class_scores.shape == (0, 16)
    assert maps[0] is not None


@pytest.mark.parametrize("mode", ["crop", "maskclip", "maskattn"])
def test_the_map_is_the_same_beside_regions_and_alone(taxonomy, mode):
    encoder = make("vit", mode=mode)
    maps = encoder.encode_with_dense([picture()], regions_in(masks_of()), taxonomy)[1]
    alone = encoder.dense([picture()])
    np.testing.assert_array_equal(maps[0].feature, alone[0].feature)
    assert maps[0].feature.dtype == np.float16
    own = make("vit", mode="maskclip" if mode == "maskclip" else "naclip").dense([picture()])
    np.testing.assert_array_equal(alone[0].feature, own[0].feature)


def test_rsa_keeps_the_features(taxonomy):
    """Only classes differ: what is stored can still be named anew."""
    regions = regions_in(masks_of())
    mean, rsa = (
        make(mode="maskclip", assignment=a).encode([picture()], regions, taxonomy) for a in ("mean", "rsa")
    )
    np.testing.assert_array_equal(mean.feature, rsa.feature)
    assert (mean.class_scores != rsa.class_scores).any()


def test_a_tower_without_dense_features():
    visual = small_vit(attentional_pool=True)
    visual.image_mean, visual.image_std = (0.5,) * 3, (0.2,) * 3
    model = (small_clip(visual), tokenizer, INFO)
    encoder = OpenClipEncoder(OpenClipSettings(), device="cpu", model=model)
    assert encoder.mode == "crop"
    with pytest.raises(UserError, match="no dense features: a learnt query"):
        encoder.dense([picture()])
    for settings in ({"mode": "maskclip"}, {"assignment": "rsa"}):
        with pytest.raises(UserError, match="not possible"):
            OpenClipEncoder(OpenClipSettings(**settings), device="cpu", model=model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "modes"),
    [
        ("ViT-B-16", ("maskclip", "naclip", "maskattn", "pool")),
        ("ViT-L-14-336", ("maskattn",)),
        ("convnext_large_d_320", ("pool",)),
        ("RN50", ("maskclip", "maskattn", "pool")),
    ],
)
def test_real_architectures(model, modes):
    """In full size with random weights: every mode, and the encoder's own feature where nothing is cut."""
    network = open_clip.create_model(model).eval()
    size = network.visual.image_size
    side = size if isinstance(size, int) else size[0]
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    tower = make_tower(network.visual)
    with torch.no_grad():
        want = network.encode_image(pixels)
        if isinstance(tower, Vit):
            tokens = tower.last(tower.before_last(pixels))
            got = network.visual.ln_post(tokens)[:, 0] @ network.visual.proj
        elif isinstance(tower, ConvNext):
            got = tower.plain_head(tower.plain(pixels).mean(dim=(1, 2)))
        else:
            inner = pixels[:, :, 8:-8, 8:-8]
            border = torch.nn.functional.pad(inner, (8, 8, 8, 8), mode="replicate")
            want = network.encode_image(border)
            got = network.visual.attnpool(tower.plain(inner)[:, ::2, ::2].permute(0, 3, 1, 2))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)
    for mode in modes:
        given = (network, open_clip.get_tokenizer(model), INFO)
        encoder = OpenClipEncoder(OpenClipSettings(model=model, mode=mode), device="cpu", model=given)
        feature, maps = encoder.features([picture()], regions_in(masks_of())), encoder.dense([picture()])
        np.testing.assert_allclose(np.linalg.norm(feature, axis=1), [1, 1, 1, 1, 0], atol=1e-4)
        assert maps[0].feature.shape[2] == feature.shape[1]
