"""SAM 3 through transformers: words to masks with scores. Opt-in; its licence is shown when it is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, Sam3ImageProcessor, Sam3Model

from labelgen.core.errors import UserError
from labelgen.models.execution import autocast, select_device
from labelgen.models.info import ModelInfo
from labelgen.models.pretrained import FAULTS, first_line, load_pretrained, pretrained_folder
from labelgen.regions.base import ImageRegions, Prompts, RegionProposer, as_rgb, regions_of_runs
from labelgen.regions.masks import MaskSet, join_ends
from labelgen.regions.overlap import choose_regions
from labelgen.regions.settings import Sam3Settings
from labelgen.regions.upsample import Window, axis, trace

HUB_MODEL = "facebook/sam3"
LICENCE = "SAM License (2025-11-19)"
NOTE = "SAM License: no military, weapons, nuclear or ITAR use; ends with litigation over it; read it first"
#: Tokens of a concept, as the model was trained.
TOKENS = 32
#: Offset of the stability score, in logits.
STABILITY_OFFSET = 1.0

#: Words to (ids, mask of what is no padding), each (words, tokens).
Tokenize = Callable[[Sequence[str]], tuple[torch.Tensor, torch.Tensor]]


def describe_sam3(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Folder of a SAM 3, and what to record about it; arguments as for `labelgen.regions.sam2.describe_sam2`.

    Raises:
        UserError: no model is named, or see `labelgen.models.pretrained.pretrained_folder`.
    """
    if model == "demo" and checkpoint is None:
        raise UserError(f"regions.backend=sam3 needs regions.model, such as {HUB_MODEL}")
    folder, weights = pretrained_folder(model, checkpoint, ("sam3", "sam3_video"), "regions.checkpoint")
    source = f"{checkpoint or model}, transformers {version('transformers')}"
    return folder, ModelInfo(f"sam3:{folder.name if checkpoint else model}", source, LICENCE, weights, NOTE)


def load_sam3(model: str, checkpoint: str | None) -> tuple[Any, Tokenize, ModelInfo]:
    """Load a SAM 3 with its tokenizer, and show its licence.

    Raises:
        UserError: as `describe_sam3`, or a checkpoint that does not fit.
    """
    folder, info = describe_sam3(model, checkpoint)
    print(f"{info.name}: {NOTE}", file=sys.stderr)
    if not ((folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()):
        raise UserError(f"checkpoint folder {folder} holds no tokenizer; fetch the model again")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except FAULTS as error:
        raise UserError(
            f"checkpoint folder {folder} holds no usable tokenizer: {first_line(error)}"
        ) from error

    def tokenize(words: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        out = tokenizer(
            list(words), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        )
        return out["input_ids"], out["attention_mask"]

    return load_pretrained(Sam3Model, folder), tokenize, info


class Sam3Proposer(RegionProposer):
    """Regions of the concepts that ``regions.words`` names, each word's instances with their scores."""

    def __init__(
        self,
        config: Sam3Settings,
        network: Any,
        tokenize: Tokenize,
        info: ModelInfo,
        *,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        """Take the network to a device and read the words.

        Raises:
            UserError: no words, or the device is not there.
        """
        if not config.words:
            raise UserError("regions.backend=sam3 needs regions.words, such as '[car, person, tree, road]'")
        self.config, self._info = config, info
        self.device = select_device(device, threads)
        self.network = network.requires_grad_(False).to(self.device)
        side = network.config.vision_config.backbone_config.image_size
        self.processor = Sam3ImageProcessor(size={"height": side, "width": side})
        with torch.inference_mode():
            self.texts = []
            for word in config.words:
                ids, mask = (part.to(self.device) for part in tokenize([word]))
                text = self.network.get_text_features(input_ids=ids, attention_mask=mask, return_dict=True)
                self.texts.append((text, mask))

    @property
    def info(self) -> ModelInfo:
        """See `RegionProposer.info`."""
        return self._info

    @torch.inference_mode()
    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Instances of all words, best score first; prompts change nothing. See `RegionProposer.propose`."""
        image = as_rgb(image)
        height, width = image.shape[:2]
        pixels = self.processor(image, return_tensors="pt")["pixel_values"].to(self.device)
        found = []
        with autocast(self.device if self.config.precision == "auto" else torch.device("cpu")):
            seen = self.network.get_vision_features(pixels)
            for text, mask in self.texts:
                found.append(
                    self._instances(
                        self.network(vision_embeds=seen, text_embeds=text, attention_mask=mask), height, width
                    )
                )
        masks = MaskSet.joined(found)
        masks = masks.take(np.array([len(ends) > 1 for ends in masks.ends], bool))
        rows, parent = choose_regions(
            masks.runs, height, masks.score, self.config.duplicate_iou, self.config.containment
        )
        masks = masks.take(rows)
        return regions_of_runs(join_ends(masks.ends), (height, width), masks.score, masks.stability, parent)

    def _instances(self, out: Any, height: int, width: int) -> MaskSet:
        """Instances of one word, chosen as ``post_process_instance_segmentation`` of transformers does."""
        score = (out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid())[0]
        if not torch.isfinite(score).all():
            raise ValueError("the network's scores are not numbers: its weights are damaged")
        passed = score > self.config.word_score_thresh
        # It compares interpolated probabilities, not logits, with a half.
        share = out.pred_masks[0][passed].float().sigmoid() - 0.5
        columns, rows = (
            axis((share.shape[axis_], size), used=size) for axis_, size in ((2, width), (1, height))
        )
        ends, stability = trace(
            share.transpose(1, 2).contiguous().cpu().numpy(),
            columns,
            rows,
            Window(0, 0, width, height),
            offset=1 / (1 + exp(-STABILITY_OFFSET)) - 0.5,
        )
        return MaskSet.of(ends, score[passed].cpu().numpy(), stability, height, height * width)
