"""SAM 2.1 through transformers: its checkpoints, and its modules as a `PromptedNetwork`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Sam2ImageProcessor, Sam2Model

from labelgen.core.errors import UserError
from labelgen.models.info import ModelInfo
from labelgen.models.pretrained import load_pretrained, pretrained_folder
from labelgen.regions.decoder import Decoded, PromptDecoder, decoder_parts
from labelgen.regions.network import Embedding, cells_of
from labelgen.regions.upsample import axis

#: SAM 2.1 on the hub, from small to large.
HUB_MODELS = (
    "facebook/sam2.1-hiera-tiny",
    "facebook/sam2.1-hiera-small",
    "facebook/sam2.1-hiera-base-plus",
    "facebook/sam2.1-hiera-large",
)


def describe_sam2(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Folder of a SAM 2, and what to record about it, without loading it.

    Args:
        model: its name on the hub, such as one of `HUB_MODELS`.
        checkpoint: folder with its files; None for the hub's, fetched if they are not there yet.

    Raises:
        UserError: no model is named, or see `labelgen.models.pretrained.pretrained_folder`.
    """
    if model == "demo" and checkpoint is None:
        raise UserError(f"regions.backend=sam2 needs regions.model, such as {HUB_MODELS[-1]}")
    folder, weights = pretrained_folder(model, checkpoint, ("sam2", "sam2_video"), "regions.checkpoint")
    source = f"{checkpoint or model}, transformers {version('transformers')}"
    return folder, ModelInfo(f"sam2:{folder.name if checkpoint else model}", source, "Apache-2.0", weights)


def load_sam2(model: str, checkpoint: str | None) -> tuple[Any, ModelInfo]:
    """Load a SAM 2 with its weights; arguments as for `describe_sam2`.

    Raises:
        UserError: as `describe_sam2`, or a checkpoint that does not fit.
    """
    folder, info = describe_sam2(model, checkpoint)
    return load_pretrained(Sam2Model, folder), info


class Sam2Network:
    """Any SAM 2 as a `labelgen.regions.network.PromptedNetwork`.

    Ravi et al. 2024, arXiv 2408.00714. The image is squeezed to the network's square input, not padded.
    """

    def __init__(self, sam: Any, info: ModelInfo) -> None:
        self.sam = sam.requires_grad_(False)
        self.info = info
        self.side = int(sam.config.prompt_encoder_config.image_size)
        self.processor = Sam2ImageProcessor(size={"height": self.side, "width": self.side})

    def to(self, device: torch.device, *, compiled: bool) -> None:
        """See `PromptedNetwork.to`."""
        self.device = device
        self.sam.to(device)
        if compiled:
            self.sam.vision_encoder.compile()
        self.decoder = PromptDecoder(decoder_parts(self.sam.mask_decoder))
        self.position = self.sam.get_image_wide_positional_embeddings()[0]

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """See `PromptedNetwork.encode`."""
        pixels = self.processor(list(images), return_tensors="pt")["pixel_values"].to(self.device)
        fine, middle, coarse = self.sam.get_image_embeddings(pixels)
        coarse = coarse + self.sam.prompt_encoder.no_mask_embed.weight.reshape(-1, 1, 1)
        return [
            self._embedding(coarse[k], (middle[k], fine[k]), image.shape[:2])
            for k, image in enumerate(images)
        ]

    def _embedding(
        self, features: torch.Tensor, finer: tuple[torch.Tensor, torch.Tensor], size: tuple[int, ...]
    ) -> Embedding:
        rows, columns = (axis((4 * features.shape[1 + k], size[k]), used=size[k]) for k in (0, 1))
        scale = np.array([self.side / size[1], self.side / size[0]])
        return Embedding(features, finer, scale, columns, rows, cells_of(columns, rows))

    def decode(
        self,
        embedding: Embedding,
        *,
        points: NDArray[np.float64] | None = None,
        boxes: NDArray[np.float64] | None = None,
        min_score: float = 0.0,
    ) -> Decoded:
        """See `PromptedNetwork.decode`."""
        at = corners = labels = None
        if points is not None:
            at = torch.as_tensor(points, dtype=torch.float32, device=self.device)[None, :, None]
            labels = torch.ones(at.shape[:3], dtype=torch.int, device=self.device)
        if boxes is not None:
            corners = torch.as_tensor(boxes, dtype=torch.float32, device=self.device)[None]
        prompts, _ = self.sam.prompt_encoder(at, labels, corners, None)
        return self.decoder(
            embedding.image,
            self.position,
            prompts[0],
            min_score=min_score,
            multimask=boxes is None,
            cells=embedding.cells,
            finer=embedding.finer,
        )
