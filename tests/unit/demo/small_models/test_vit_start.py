"""The start of the vision transformer: orthogonal filters, codes that rotate, heads with a neighbour each."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from transformers import Blip2VisionConfig, Blip2VisionModel

from labelgen.demo.small_models.vit_start import (
    NEIGHBOURS,
    cosine_patches,
    position_codes,
    shift_of_codes,
    start_vision,
)


def test_patches_are_a_cosine_transform():
    pixels = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    filters = cosine_patches(8, 70, pixels)
    flat = torch.nn.functional.normalize(filters.flatten(1), dim=1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(70), atol=1e-5, rtol=0)
    response = torch.nn.functional.conv2d(pixels, filters, stride=8)
    torch.testing.assert_close(response.std(dim=(0, 2, 3)), torch.ones(70), atol=1e-3, rtol=0)
    # The first filters see the lowest frequencies of the brightness.
    for number in range(3):
        spectrum = np.abs(dctn(filters[number].sum(dim=0).numpy(), norm="ortho"))
        assert np.unravel_index(spectrum.argmax(), (8, 8)) in {(0, 0), (0, 1), (1, 0)}


def test_filters_beyond_the_patch_are_zero():
    assert not cosine_patches(2, 20, torch.randn(4, 3, 8, 8))[12:].any()


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, -1), (-1, 1)])
def test_a_shift_rotates_the_code(dx, dy):
    codes = position_codes(6, 16).reshape(6, 6, 16)
    turn = shift_of_codes(6, 16, dx, dy)
    torch.testing.assert_close(turn @ turn.T, torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes[2, 3] @ turn.T, codes[2 + dy, 3 + dx], atol=1e-4, rtol=0)


def test_heads_look_at_their_neighbours():
    torch.manual_seed(0)
    config = Blip2VisionConfig(
        hidden_size=128, intermediate_size=64, num_hidden_layers=1, num_attention_heads=8, image_size=48,
        patch_size=8, initializer_range=0.02,
    )  # fmt: skip
    vision = Blip2VisionModel(config)
    vision.set_attn_implementation("eager")
    pixels = torch.randn(8, 3, 48, 48)
    start_vision(vision, pixels)
    attention = vision(pixels, output_attentions=True).attentions[0].mean(dim=0)  # (heads, 37, 37)
    for head, (dx, dy) in enumerate(NEIGHBOURS[:8]):
        at = 1 + 3 * 6 + 2
        assert attention[head, at, 1:].argmax() == 6 * (3 + dy) + 2 + dx
        assert attention[head, at, 1 + 6 * (3 + dy) + 2 + dx] > 0.2
