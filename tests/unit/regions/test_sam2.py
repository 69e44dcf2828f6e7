"""SAM 2 of transformers, tiny and with random weights, against its own forward pass."""

import json

import numpy as np
import pytest
import torch
from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model

from labelgen.core.errors import UserError
from labelgen.geometry.rle import decode
from labelgen.models.info import ModelInfo
from labelgen.regions import Prompts, make_proposer
from labelgen.regions.generator import PromptedProposer
from labelgen.regions.sam2 import Sam2Network, load_sam2
from labelgen.regions.settings import Sam2Settings, SamSettings

SIDE = 128


def tiny():
    torch.manual_seed(0)
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "image_size": [SIDE, SIDE],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    model = Sam2Model(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3, generator=generator)
    return model


@pytest.fixture(scope="module")
def sam2():
    return tiny(), ModelInfo("sam2:random", "test", "none", "0")


def official(model, image, **prompts):
    """(P, m, H, W) logits at the image's size, and (P, m) scores, by transformers' own code."""
    processor = Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    inputs = processor(image, return_tensors="pt")
    with torch.inference_mode():
        out = model(pixel_values=inputs["pixel_values"], **prompts)
    full = processor.post_process_masks([out.pred_masks[0]], [image.shape[:2]], binarize=False)[0]
    return full, out.iou_scores[0]


def test_masks_of_points_equal_the_models_own(sam2, picture):
    proposer = PromptedProposer(
        Sam2Settings(
            mode="grid",
            points_per_side=3,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.0,
            box_nms_thresh=1.0,
            duplicate_iou=1.0,
        ),
        Sam2Network(*sam2),
        device="cpu",
    )
    regions = proposer.propose(picture)
    shares = (np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2) + 0.5) / 3
    points = torch.tensor(shares * SIDE, dtype=torch.float32)[None, :, None]
    full, scores = official(sam2[0], picture, input_points=points, multimask_output=True)
    want = [
        (float(score), (logits > 0).numpy())
        for logits, score in zip(full.flatten(0, 1), scores.flatten(), strict=True)
        if (logits > 0).any()
    ]
    assert len(regions) == len({mask.tobytes() for _, mask in want}) > 3
    for code, score in zip(regions.rle, regions.score, strict=True):
        mask = decode(code, 90, 160)
        near = [(mask != other).sum() for value, other in want if abs(value - score) < 2e-3]
        assert min(near) <= 3


def test_masks_of_boxes_equal_the_models_own(sam2, picture):
    """Without its choice among masks by stability, which the official predictor does not use for boxes."""
    boxes = np.array([[20, 40, 60, 70], [90, 50, 140, 80]], np.float32)
    sam2[0].mask_decoder.dynamic_multimask_via_stability = False
    config = Sam2Settings(mode="boxes", duplicate_iou=1.0)
    regions = PromptedProposer(config, Sam2Network(*sam2), device="cpu").propose(
        picture, Prompts(boxes=boxes)
    )
    corners = torch.tensor(boxes * np.tile([SIDE / 160, SIDE / 90], 2), dtype=torch.float32)[None]
    full, _ = official(sam2[0], picture, input_boxes=corners, multimask_output=False)
    want = [(logits > 0).numpy() for logits in full[:, 0] if (logits > 0).any()]
    assert len(regions) == len(want) > 0
    for code in regions.rle:
        assert min((decode(code, 90, 160) != other).sum() for other in want) <= 3


def test_through_a_folder(tmp_path, sam2, picture):
    sam2[0].save_pretrained(tmp_path / "sam2")
    config = Sam2Settings(
        model="tiny",
        checkpoint=str(tmp_path / "sam2"),
        mode="grid",
        points_per_side=2,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    proposer = make_proposer(config, "cpu")
    assert len(proposer.propose(picture)) > 0
    assert (proposer.info.name, proposer.info.licence) == ("sam2:sam2", "Apache-2.0")
    assert len(proposer.info.weights) == 32


class TestFaults:
    def test_no_model_named(self):
        with pytest.raises(UserError, match=r"needs regions\.model"):
            load_sam2("demo", None)

    def test_no_folder(self, tmp_path):
        with pytest.raises(UserError, match="nowhere is not a folder"):
            load_sam2("x", str(tmp_path / "nowhere"))

    def test_no_weights(self, tmp_path):
        with pytest.raises(UserError, match=r"holds no model\.safetensors"):
            load_sam2("x", str(tmp_path))

    def test_another_model(self, tmp_path, sam2):
        sam2[0].save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
        with pytest.raises(UserError, match="type 'bert', not sam2"):
            load_sam2("x", str(tmp_path))

    def test_truncated(self, tmp_path, sam2):
        sam2[0].save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(UserError, match="cannot be loaded as Sam2Model"):
            load_sam2("x", str(tmp_path))

    def test_weights_that_are_missing(self, tmp_path, sam2):
        state = {k: v for k, v in sam2[0].state_dict().items() if "iou_token" not in k}
        sam2[0].save_pretrained(tmp_path, state_dict=state)
        with pytest.raises(UserError, match=r"1 weights are missing .*iou_token"):
            load_sam2("x", str(tmp_path))


@pytest.mark.slow
def test_real_architecture(picture):
    """SAM 2.1 large's own sizes, with random weights."""
    config = Sam2Config()
    proposer = PromptedProposer(
        SamSettings(
            mode="grid", points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1
        ),
        Sam2Network(Sam2Model(config).eval(), ModelInfo("sam2:random", "test", "none", "0")),
        device="cpu",
    )
    assert proposer.propose(picture).size == (90, 160)
