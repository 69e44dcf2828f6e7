"""The small Sam's image encoder."""

import pytest
import torch

from labelgen.models.conv_encoder import STRIDE, ConvEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return ConvEncoder(128, widths=[8, 8, 16, 16, 16], depths=[0, 1, 1, 1, 1], out_chans=24).eval()


def test_one_cell_for_every_eight_pixels(encoder):
    with torch.inference_mode():
        out = encoder(torch.randn(2, 3, 128, 128))
    assert out.shape == (2, 24, 128 // STRIDE, 128 // STRIDE)


def test_padding_is_left_out_and_changes_nothing(encoder):
    picture = torch.randn(1, 3, 64, 128)
    padded = torch.nn.functional.pad(picture, (0, 0, 0, 64))
    with torch.inference_mode():
        out = encoder(padded)
        torch.testing.assert_close(out[:, :, :8], encoder(picture)[:, :, :8])
    assert (out[:, :, 8:] == 0).all()
    assert (out[:, :, :8] != 0).any()


@pytest.mark.parametrize("pixel", [(13, 17), (100, 90)])
def test_what_moves_in_the_picture_moves_in_the_embedding(encoder, pixel):
    """Each cell sees its own surroundings."""
    picture = torch.randn(1, 3, 128, 128)
    changed = picture.clone()
    changed[0, :, pixel[0], pixel[1]] += 20
    with torch.inference_mode():
        difference = (encoder(picture) - encoder(changed)).abs().sum(dim=1)[0]
    strongest = divmod(int(difference.argmax()), 128 // STRIDE)
    assert abs(strongest[0] - pixel[0] // STRIDE) <= 1
    assert abs(strongest[1] - pixel[1] // STRIDE) <= 1
