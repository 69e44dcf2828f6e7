import json

import numpy as np
import pytest
import torch

from labelgen.models.info import ModelInfo
from labelgen.models.shipped import build_sam, shipped_dir


@pytest.fixture(scope="session")
def tiny_sam():
    """The demo's architecture at a quarter of its size, with random weights that give busy masks."""
    config = json.loads((shipped_dir("sam") / "config.json").read_text())
    config["image_encoder"].update(img_size=128, embed_dim=32, depth=2, num_heads=2, global_attn_indexes=[1])
    config["prompt_dim"] = 32
    torch.manual_seed(5)
    sam = build_sam(config).eval()
    for parameter in sam.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return sam, ModelInfo("sam:random", "test", "none", "0")


@pytest.fixture(scope="session")
def picture():
    """A (90, 160, 3) picture with a few plain shapes and noise."""
    rng = np.random.default_rng(3)
    image = rng.integers(90, 110, (90, 160, 3), np.uint8)
    image[:30] = (200, 220, 250)
    image[40:70, 20:60] = (180, 30, 40)
    image[50:80, 90:140] = (30, 160, 60)
    return image
