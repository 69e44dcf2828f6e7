"""Captions of regions by any BLIP-2 of transformers, the small demo model among them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Blip2ForConditionalGeneration, Blip2Processor
from transformers.utils import logging as transformers_logging

from labelgen.core.errors import UserError
from labelgen.core.records import Regions
from labelgen.models.execution import select_device
from labelgen.models.info import ModelInfo
from labelgen.models.pretrained import FAULTS, pretrained_folder, unusable
from labelgen.models.shipped import LICENCE, NOTE, TRAINING_FILE, shipped_dir, shipped_revision
from labelgen.semantics.crops import region_crops
from labelgen.semantics.settings import CaptionSettings


def describe_blip2(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Folder of a BLIP-2, and what to record about it, without loading it.

    Args:
        model: ``demo`` (shipped), or the name of a model of the hub.
        checkpoint: folder as transformers writes it (``config.json``, processor, ``*.safetensors``); None
            for the shipped one or the hub's, which is fetched if it is not there yet.

    Raises:
        UserError: no such model or folder, or files are missing; names them.
    """
    given = str(shipped_dir("blip2")) if model == "demo" and checkpoint is None else checkpoint
    folder, weights = pretrained_folder(model, given, ("blip-2",), "semantics.caption_checkpoint")
    shipped = (folder / TRAINING_FILE).is_file()
    return folder, ModelInfo(
        name=f"blip2:{model}",
        revision=shipped_revision(folder)
        if shipped
        else f"{checkpoint or model}, transformers {version('transformers')}",
        licence=LICENCE if shipped else "see the publisher of the weights",
        weights=weights,
        note=NOTE if shipped else "",
    )


def load_blip2(model: str, checkpoint: str | None, device: torch.device) -> tuple[Any, Any, ModelInfo]:
    """Load a BLIP-2 with its processor, through transformers' own ``from_pretrained``.

    Weights become float32 on a CPU, and bfloat16 (float16 where there is none) on a GPU.

    Returns:
        The model, its processor, and what to record about it. Arguments as for `describe_blip2`.

    Raises:
        UserError: as `describe_blip2`, or a checkpoint that does not fit.
    """
    folder, info = describe_blip2(model, checkpoint)
    kind = torch.float32
    if device.type == "cuda":
        kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    try:
        with quiet():
            processor = Blip2Processor.from_pretrained(folder, local_files_only=True)
            loaded: Any = Blip2ForConditionalGeneration.from_pretrained(
                folder, dtype=kind, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            network, report = loaded
    except FAULTS as error:
        raise unusable(folder, "BLIP-2", error) from error
    # transformers fills what is missing with random numbers, and passes over layers that have no place.
    missing = sorted(report["missing_keys"])
    spare = sorted(key for key in report["unexpected_keys"] if re.search(r"\.layers?\.\d+\.", key))
    for keys, fault in ((missing, "missing from"), (spare, "more than config.json has room for in")):
        if keys:
            raise UserError(f"{len(keys)} weights are {fault} {folder}, first {keys[0]}")
    size, side = processor.image_processor.size, network.config.vision_config.image_size
    if (size.get("height"), size.get("width")) != (side, side):
        raise UserError(f"checkpoint folder {folder}: the processor's images are {size}, the model's {side}")
    token = processor.tokenizer.convert_tokens_to_ids(str(processor.image_token))
    if token != network.config.image_token_index:
        raise UserError(
            f"checkpoint folder {folder}: the tokenizer is not the model's; its image token is {token}, "
            f"not {network.config.image_token_index}"
        )
    return network.eval().to(device), processor, info


class Blip2Captioner:
    """Describes regions by crops, their surroundings dimmed; a `labelgen.semantics.base.Captioner`.

    Li et al. 2023, arXiv 2301.12597; captions of regions as in VLM2Scene. Decoding is greedy, hence
    the same in every run.
    """

    def __init__(
        self,
        config: CaptionSettings,
        *,
        device: str = "auto",
        threads: int = 1,
        model: tuple[Any, Any, ModelInfo] | None = None,
    ) -> None:
        """Load the model, or take the one given.

        Raises:
            UserError: see `load_blip2` and `select_device`.
        """
        self.config = config
        self.device = select_device(device, threads)
        self.network, self.processor, self.info = model or load_blip2(
            config.caption_model, config.caption_checkpoint, self.device
        )

    def caption(
        self,
        images: Sequence[NDArray[np.uint8] | None],
        regions: Regions,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[str, ...]:
        """Captions of a frame's regions; see `labelgen.semantics.base.Captioner.caption`.

        Raises:
            ValueError: a region lies in an image that is not there.
        """
        rows = np.arange(len(regions)) if rows is None else rows
        look = self.processor.image_processor
        crops = region_crops(
            images,
            regions,
            size=look.size["height"],
            scale=self.config.caption_crop_scale,
            background=self.config.caption_background,
            mean=tuple(255 * float(value) for value in look.image_mean),  # type: ignore[arg-type]
            rows=rows,
        )
        captions = [""] * len(regions)
        for row, text in zip(rows, self.caption_crops(crops), strict=True):
            captions[row] = text
        return tuple(captions)

    def caption_crops(self, crops: Iterator[NDArray[np.uint8]]) -> list[str]:
        """K captions of (S, S, 3) uint8 crops."""
        captions: list[str] = []
        batch: list[NDArray[np.uint8]] = []
        for crop in crops:
            batch.append(crop)
            if len(batch) == self.config.caption_batch_size:
                captions += self._caption_batch(batch)
                batch = []
        return captions + self._caption_batch(batch)

    def _caption_batch(self, batch: list[NDArray[np.uint8]]) -> list[str]:
        if not batch:
            return []
        pixels = self.processor.image_processor(batch, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            tokens = self.network.generate(
                pixels.to(self.device, self.network.dtype),
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.config.caption_tokens,
            )
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' remarks and bars out of the user's terminal."""
    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
