"""Features of patches in the small CLIP's training."""

import torch
from open_clip.modified_resnet import ModifiedResNet

from labelgen.demo.small_models.train_clip import image_and_patches


def test_whole_crops_go_open_clips_own_way():
    torch.manual_seed(0)
    visual = ModifiedResNet([1, 1, 1, 1], 24, 4, 96, 8).eval()
    pixels = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        image, patches = image_and_patches(visual, pixels)
        torch.testing.assert_close(image, visual(pixels))
    assert patches.shape == (2, 9, 24)


def test_patches_are_the_values_of_their_own_places():
    """Attention that looks at one place alone gives that place's patch (without the code of its position)."""
    torch.manual_seed(0)
    visual = ModifiedResNet([1, 1, 1, 1], 24, 4, 96, 8).eval()
    torch.nn.init.zeros_(visual.attnpool.positional_embedding)
    pixels = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        _, patches = image_and_patches(visual, pixels)
        tokens = visual.forward_intermediates(pixels, indices=1)["image_intermediates"][0]
        for place in range(9):
            alone = tokens.flatten(2)[:, :, place, None, None]
            # A map of one pixel: its mean is the pixel, and attention has nothing else to look at.
            visual.attnpool.positional_embedding.data = torch.zeros(2, tokens.shape[1])
            torch.testing.assert_close(patches[:, place], visual.attnpool(alone))
