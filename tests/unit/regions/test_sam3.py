"""SAM 3 of transformers, tiny and with random weights, against its own post-processing."""

import numpy as np
import pytest
import torch
from transformers import Sam3Config, Sam3ImageProcessor, Sam3Model

from labelgen.core.errors import UserError
from labelgen.geometry.rle import decode
from labelgen.models.info import ModelInfo
from labelgen.regions.sam3 import TOKENS, Sam3Proposer, describe_sam3, load_sam3
from labelgen.regions.settings import Sam3Settings

SIDE = 56


def tiny():
    torch.manual_seed(1)
    small = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "num_layers": 1}
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": SIDE,
                "pretrain_image_size": SIDE,
                "patch_size": 14,
                "window_size": 2,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "vocab_size": 99,
            "hidden_size": 24,
            "intermediate_size": 32,
            "projection_dim": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": TOKENS,
            "eos_token_id": 98,
            "bos_token_id": 97,
            "pad_token_id": 98,
        },
        geometry_encoder_config=small,
        detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 12},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    model = Sam3Model(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.2, generator=generator)
    return model


def tokenize(words):
    ids = torch.full((len(words), TOKENS), 98)
    mask = torch.zeros((len(words), TOKENS), dtype=torch.long)
    for row, word in enumerate(words):
        codes = [97, *(ord(letter) % 90 for letter in word), 98]
        ids[row, : len(codes)] = torch.tensor(codes)
        mask[row, : len(codes)] = 1
    return ids, mask


INFO = ModelInfo("sam3:random", "test", "none", "0")


@pytest.fixture(scope="module")
def sam3():
    return tiny()


def test_equals_its_own_post_processing(sam3, picture):
    config = Sam3Settings(words=("car",), word_score_thresh=0.05, duplicate_iou=1.0)
    regions = Sam3Proposer(config, sam3, tokenize, INFO, device="cpu").propose(picture)
    processor = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    ids, mask = tokenize(["car"])
    with torch.inference_mode():
        pixels = processor(picture, return_tensors="pt")["pixel_values"]
        out = sam3(pixel_values=pixels, input_ids=ids, attention_mask=mask)
    want = processor.post_process_instance_segmentation(out, threshold=0.05, target_sizes=[(90, 160)])[0]
    kept = [
        (float(score), mask.bool().numpy())
        for score, mask in zip(want["scores"], want["masks"], strict=True)
        if mask.any()
    ]
    assert len(regions) == len({mask.tobytes() for _, mask in kept}) > 0
    for code, score in zip(regions.rle, regions.score, strict=True):
        near = [(decode(code, 90, 160) != other).sum() for value, other in kept if abs(value - score) < 2e-3]
        assert min(near) <= 3


def test_words_add_up_and_nothing_may_pass(sam3, picture):
    def propose(words, least):
        config = Sam3Settings(words=words, word_score_thresh=least, duplicate_iou=1.0)
        return Sam3Proposer(config, sam3, tokenize, INFO, device="cpu").propose(picture)

    one, two = propose(("car",), 0.05), propose(("car", "a tree"), 0.05)
    assert set(one.rle) < set(two.rle)
    assert (np.diff(two.score.astype(float)) <= 0).all()
    assert len(propose(("car",), 1.0)) == 0


def test_without_words(sam3):
    with pytest.raises(UserError, match=r"needs regions\.words"):
        Sam3Proposer(Sam3Settings(), sam3, tokenize, INFO, device="cpu")


def test_a_folder_states_its_licence_and_needs_a_tokenizer(tmp_path, sam3, capsys):
    sam3.save_pretrained(tmp_path)
    assert "SAM License" in describe_sam3("x", str(tmp_path))[1].licence
    with pytest.raises(UserError, match="no tokenizer"):
        load_sam3("x", str(tmp_path))
    assert "SAM License" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"needs regions\.model"):
        describe_sam3("demo", None)
