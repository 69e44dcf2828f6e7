"""Prompts and losses of the small Sam's training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgen.demo.small_models.sam_samples import draw_sample
from labelgen.demo.small_models.train_sam import DenseHead, look_at_the_prompt, sam_losses
from labelgen.models.conv_encoder import STRIDE
from labelgen.models.shipped import build_sam, shipped_dir

SIDE = 128


@pytest.fixture(scope="module")
def sam():
    config = json.loads((shipped_dir("sam") / "config.json").read_text())
    config["image_encoder"].update(img_size=SIDE, widths=[8, 8, 16, 16, 16], depths=[0, 0, 1, 1, 0])
    torch.manual_seed(1)
    return build_sam(config)


@pytest.fixture(scope="module")
def heads(sam):
    dim = sam.prompt_encoder.embed_dim
    return torch.nn.ModuleList([DenseHead(dim, 13), DenseHead(dim // 8, 13)])


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(6)
    objects = np.zeros((90, 160), np.uint16)
    objects[50:] = 3
    objects[30:70, 20:60] = 7
    objects[30:70, 80:85] = 9  # splits nothing
    objects[60:65] = 12
    rgb = rng.integers(0, 255, (90, 160, 3), np.uint8)
    classes = np.arange(13, dtype=np.int64)
    return draw_sample(rgb, objects, classes, SIDE, np.random.default_rng(0))


def test_prompts_lie_in_what_they_ask_for(sample):
    assert sample.image.shape == (3, 72, SIDE)
    assert sample.whole.shape == (16, 36, SIDE // 2)
    x, y = (sample.point.floor().long() // 2).unbind(1)
    inside = sample.whole[torch.arange(16), y, x]
    assert (inside > 0).all()
    assert (sample.piece <= sample.whole).all()
    assert (sample.piece[torch.arange(16), y, x] > 0).all()
    left, top, right, bottom = sample.box.unbind(1)
    assert (right > left).all()
    assert (bottom > top).all()


def test_pieces_are_smaller_only_where_an_object_is_cut(sample):
    whole, piece = sample.whole.sum(dim=(1, 2)), sample.piece.sum(dim=(1, 2))
    assert (piece > 0).all()
    assert (piece < whole).any(), "the ground is cut in two"
    assert (piece == whole).any()


def test_dense_truth_is_the_objects_at_the_cells(sample):
    classes, box = sample.dense[0]
    assert classes.shape == box.shape[1:]
    assert set(classes.unique().tolist()) <= {0, 3, 7, 9, 12}
    assert (box > 0).all(), "a cell's centre lies in its object's box"


def test_nothing_large_enough():
    objects = np.arange(90 * 160, dtype=np.uint16).reshape(90, 160)
    classes = np.zeros(90 * 160, np.int64)
    rgb = np.zeros((90, 160, 3), np.uint8)
    assert draw_sample(rgb, objects, classes, SIDE, np.random.default_rng(0)) is None


def test_windows_keep_their_place_and_their_scale():
    """A window's pixels, enlarged by its zoom, are those of the picture at the place that it claims."""
    rows, columns = np.indices((180, 320))
    rgb = np.stack([columns % 256, rows, columns // 256 * 100], axis=2).astype(np.uint8)
    objects = (columns // 40 + 8 * (rows // 60)).astype(np.uint16)
    classes = np.arange(40, dtype=np.int64)
    for seed in range(20):
        got = draw_sample(
            rgb, objects, classes, 256, np.random.default_rng(seed), prompts=8, window=(64, 112)
        )
        assert got.image.shape == (3, 64, 112)
        assert got.point.shape == (8, 2)
        assert got.whole.shape == (8, 32, 56)
        row, column = got.corner
        assert 0 <= row <= (144 - 64) // 8
        assert 0 <= column <= (256 - 112) // 8
        middle = got.dense[1][0].shape[0] // 2, got.dense[1][0].shape[1] // 2
        true = objects[min(int((row * 8 + 32) / 0.8), 179), min(int((column * 8 + 56) / 0.8), 319)]
        shown = int(got.dense[1][0][middle])
        assert abs(shown % 8 - true % 8) <= 1, "the window's middle lies where its corner says"
        assert abs(shown // 8 - true // 8) <= 1


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_losses_reach_every_part(sam, heads, sample, boxes, padded):
    losses = sam_losses(sam, heads, [sample, sample], boxes=boxes, padded=padded, power=0.5)
    assert all(torch.isfinite(value) for value in losses.values())
    sam.zero_grad()
    losses["loss"].backward()
    for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_without_the_decoder_only_the_encoder_learns(sam, heads, sample):
    losses = sam_losses(sam, heads, [sample], decode=False, power=0.5)
    assert "best_iou" not in losses
    sam.zero_grad()
    losses["loss"].backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in sam.mask_decoder.transformer.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in sam.image_encoder.parameters())


def test_dense_masks_are_right_when_features_tell_objects_apart(sample):
    """A head that looks at one-hot objects finds every mask exactly."""
    classes, box = sample.dense[1]
    present = classes.unique()
    features = (classes[None] == present[:, None, None]).float()[None] * 2
    features = torch.cat([features, torch.zeros(1, 13 - len(present), *classes.shape)], dim=1)
    head = DenseHead(13, 13)
    head.query.weight.data = 4 * torch.eye(13)
    _, iou = head(features, (classes, box), sample, 0.5)
    assert iou > 0.95


def test_a_window_is_prompted_where_it_lies(sam, heads, sample, monkeypatch):
    """The decoder gets the position codes of the window's own cells."""
    seen: list[torch.Tensor] = []
    decode = type(sam.mask_decoder).forward
    monkeypatch.setattr(
        type(sam.mask_decoder),
        "forward",
        lambda self, **given: seen.append(given["image_pe"]) or decode(self, **given),
    )
    window = replace(
        sample,
        image=sample.image[:, :64, :64],
        corner=(3, 5),
        point=sample.point.clamp(max=60),
        whole=sample.whole[:, :32, :32],
        piece=sample.piece[:, :32, :32],
        dense=tuple(
            (c[: n // 8, : n // 8], b[:, : n // 8, : n // 8])
            for n, (c, b) in zip((64, 256), sample.dense, strict=True)
        ),
    )
    sam_losses(sam, heads, [window], boxes=False, padded=False, power=0.5)
    codes = sam.prompt_encoder.get_dense_pe()
    torch.testing.assert_close(seen[0].float(), codes[:, :, 3:11, 5:13], atol=0.15, rtol=0)  # bfloat16
    assert (seen[0].float() - codes[:, :, 2:10, 5:13]).abs().max() > 0.3


def test_attention_starts_at_the_prompt(sam):
    torch.manual_seed(2)
    look_at_the_prompt(sam)
    attention = sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    places = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T  # (cells, D)
    query = sam.prompt_encoder.pe_layer.forward_with_coords(torch.tensor([[[92.0, 44.0]]]), (SIDE, SIDE))[0]
    with torch.no_grad():
        score = attention.q_proj(query) @ attention.k_proj(places).T
    assert divmod(int(score.argmax()), SIDE // STRIDE) == (44 // STRIDE, 92 // STRIDE)
