"""The small demo models inside the package: where their files are and how a `Sam` is built from JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

LICENCE = "Apache-2.0"
NOTE = "trained on the simulated city only; means nothing on real images"

#: File of the demo CLIP's byte-pair merges, beside its weights; open_clip's own is 25 times larger.
BPE_FILE = "bpe.txt.gz"

#: How the weights beside it were trained: revision, seeds, figures.
TRAINING_FILE = "training.json"


def shipped_dir(kind: Literal["sam", "clip", "blip2"]) -> Path:
    """Folder with the configuration and the weights of a shipped model."""
    return Path(__file__).parent / "weights" / kind


def shipped_revision(folder: Path) -> str:
    """Revision that the training wrote beside the weights."""
    return str(json.loads((folder / TRAINING_FILE).read_text())["revision"])


def build_sam(config: Mapping[str, Any]) -> Sam:
    """A `segment_anything.modeling.Sam` of any size, with random weights.

    Args:
        config: ``image_encoder`` (arguments of `ConvEncoder` other than ``out_chans``), ``prompt_dim``,
            ``mask_in_chans``, ``decoder`` (``depth``, ``num_heads``, ``mlp_dim``, ``iou_head_hidden_dim``).
    """
    # Here, since a driver asks for licences and hashes only and must not wait for torch.
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    from labelgen.models.conv_encoder import STRIDE, ConvEncoder

    encoder, decoder, dim = dict(config["image_encoder"]), config["decoder"], int(config["prompt_dim"])
    side = encoder["img_size"] // STRIDE
    return Sam(
        image_encoder=ConvEncoder(out_chans=dim, **encoder),
        prompt_encoder=PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(side, side),
            input_image_size=(encoder["img_size"], encoder["img_size"]),
            mask_in_chans=config["mask_in_chans"],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=decoder["depth"],
                embedding_dim=dim,
                num_heads=decoder["num_heads"],
                mlp_dim=decoder["mlp_dim"],
            ),
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=decoder["iou_head_hidden_dim"],
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
