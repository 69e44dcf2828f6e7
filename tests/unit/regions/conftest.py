import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT

from labelgen.models.info import ModelInfo
from labelgen.models.shipped import build_sam

CONFIG = {
    "image_encoder": {"img_size": 128, "widths": [8, 12, 16], "depths": [0, 1, 1]},
    "prompt_dim": 32,
    "mask_in_chans": 4,
    "decoder": {"depth": 2, "num_heads": 2, "mlp_dim": 48, "iou_head_hidden_dim": 16},
}


def randomise(network, seed, std=0.4):
    """Random weights that give busy masks."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, std, generator=generator)
        last = network.mask_decoder.iou_prediction_head.layers[-1]
        last.weight.mul_(0.1)  # scores around a half, some on either side
        last.bias.fill_(0.5)
        for net in network.mask_decoder.output_hypernetworks_mlps:
            net.layers[-1].bias.fill_(-4)  # masks of a part of the picture
    return network.eval()


@pytest.fixture(scope="session")
def tiny_sam():
    """The demo's architecture at a quarter of its size, with random weights: (Sam, ModelInfo)."""
    torch.manual_seed(1)
    return randomise(build_sam(CONFIG), seed=5), ModelInfo("sam:random", "test", "none", "0")


@pytest.fixture(scope="session")
def tiny_vit_sam():
    """A Sam with segment-anything's own image encoder, its relative positions not zero."""
    torch.manual_seed(2)
    sam = build_sam({**CONFIG, "image_encoder": {**CONFIG["image_encoder"], "img_size": 64}})
    sam.image_encoder = ImageEncoderViT(
        img_size=64,
        patch_size=8,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=32,
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    )
    return randomise(sam, seed=6), ModelInfo("sam:vit", "test", "none", "0")


@pytest.fixture(scope="session")
def picture():
    """A (90, 160, 3) picture with a few plain shapes and noise."""
    rng = np.random.default_rng(3)
    image = rng.integers(90, 110, (90, 160, 3), np.uint8)
    image[:30] = (200, 220, 250)
    image[40:70, 20:60] = (180, 30, 40)
    image[50:80, 90:140] = (30, 160, 60)
    return image
