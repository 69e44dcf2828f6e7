"""A tiny CLIP with random weights, in a folder as open_clip writes it."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from labelgen.demo.small_models.bpe import learn_merges, write_merges
from labelgen.models.shipped import BPE_FILE, shipped_dir
from labelgen.semantics.clip_weights import DIRECTORY_WEIGHTS


def write_clip_folder(folder: Path) -> Path:
    config = json.loads((shipped_dir("clip") / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 24
    config["model_cfg"]["vision_cfg"].update(image_size=32, layers=2, width=32, head_width=16)
    config["model_cfg"]["text_cfg"].update(layers=2, width=32, heads=2)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    write_merges(learn_merges(["a car on the road", "a tree", "the sky"] * 2, 1000), folder / BPE_FILE)
    torch.manual_seed(7)
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / DIRECTORY_WEIGHTS)
    return folder
