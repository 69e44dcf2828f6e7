"""Prompts and losses of the small Sam's training."""

import json

import numpy as np
import pytest
import torch

from labelgen.models.shipped import build_sam, shipped_dir
from labelgen.models.train_sam import (
    DenseHead,
    draw_sample,
    look_at_the_prompt,
    sam_losses,
    start_with_cosines,
)

SIDE = 128


@pytest.fixture(scope="module")
def sam():
    config = json.loads((shipped_dir("sam") / "config.json").read_text())
    config["image_encoder"].update(img_size=SIDE, embed_dim=32, depth=1, num_heads=2, global_attn_indexes=[])
    torch.manual_seed(1)
    return build_sam(config)


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
    assert sample.whole.shape == (32, 36, SIDE // 2)
    x, y = (sample.point.floor().long() // 2).unbind(1)
    inside = sample.whole[torch.arange(32), y, x]
    assert (inside > 0).all()
    assert (sample.piece <= sample.whole).all()
    assert (sample.piece[torch.arange(32), y, x] > 0).all()
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


@pytest.mark.parametrize("boxes", [False, True])
def test_losses_reach_every_part(sam, sample, boxes):
    heads = torch.nn.ModuleList([DenseHead(64, 13), DenseHead(8, 13)])
    losses = sam_losses(sam, heads, sample, boxes=boxes, power=0.5)
    assert all(torch.isfinite(value) for value in losses.values())
    sam.zero_grad()
    losses["loss"].backward()
    for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_attention_starts_at_the_prompt(sam):
    torch.manual_seed(2)
    look_at_the_prompt(sam)
    attention = sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    places = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T  # (cells, D)
    query = sam.prompt_encoder.pe_layer.forward_with_coords(torch.tensor([[[88.0, 40.0]]]), (SIDE, SIDE))[0]
    with torch.no_grad():
        score = attention.q_proj(query) @ attention.k_proj(places).T
    assert divmod(int(score.argmax()), SIDE // 16) == (40 // 16, 88 // 16)


def test_cosines_are_orthogonal_and_see_colour(sam):
    proj = sam.image_encoder.patch_embed.proj
    start_with_cosines(proj)
    rows = proj.weight.detach().flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    off = rows @ rows.T - torch.eye(len(rows))
    assert off.abs().max() < 2e-2
    grey, red = torch.ones(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    red[:, 0] = 1
    with torch.no_grad():
        assert not torch.allclose(proj(grey) / proj(grey).norm(), proj(red) / proj(red).norm(), atol=0.1)
