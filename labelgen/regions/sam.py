"""segment-anything's Sam: its checkpoints, and its modules as a `PromptedNetwork`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.utils.transforms import ResizeLongestSide

from labelgen.core.errors import UserError
from labelgen.models.checkpoints import load_weights, read_state_dict
from labelgen.models.info import ModelInfo
from labelgen.models.shipped import build_sam, shipped_dir
from labelgen.regions.attention import use_fused_attention
from labelgen.regions.decoder import Decoded, PromptDecoder, decoder_parts
from labelgen.regions.network import Embedding, cells_of
from labelgen.regions.sam_weights import describe_sam
from labelgen.regions.upsample import axis

#: {width of the image encoder: size}
WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


def load_sam(model: str, checkpoint: str | None) -> tuple[Sam, ModelInfo]:
    """Load a Sam with its weights; arguments as for `describe_sam`.

    Raises:
        UserError: as `describe_sam`, or a checkpoint that does not fit.
    """
    path, info = describe_sam(model, checkpoint)
    state = read_state_dict(path)
    if model == "demo":
        sam = build_sam(json.loads((shipped_dir("sam") / "config.json").read_text()))
    else:
        _check_size(state, model, path)
        sam = sam_model_registry[model]()
    load_weights(sam, state, path, info.name)
    return sam.eval(), info


def _check_size(state: Mapping[str, Any], model: str, path: Path) -> None:
    """Say so if a file holds a public Sam of another size, rather than which of its keys do not fit.

    Raises:
        UserError: it does.
    """
    position = state.get("image_encoder.pos_embed")
    found = WIDTHS.get(position.shape[-1]) if position is not None and position.ndim else None
    if found not in (None, model):
        raise UserError(f"checkpoint {path} is a Sam of size {found}: set regions.model={found}")


class SamNetwork:
    """Any Sam as a `labelgen.regions.network.PromptedNetwork`."""

    def __init__(self, sam: Sam, info: ModelInfo) -> None:
        self.sam, self.info = sam.requires_grad_(False), info
        self.resize = ResizeLongestSide(sam.image_encoder.img_size)
        if isinstance(sam.image_encoder, ImageEncoderViT):
            use_fused_attention(sam.image_encoder)

    def to(self, device: torch.device, *, compiled: bool) -> None:
        """See `PromptedNetwork.to`."""
        self.sam.to(device)
        self.encoder = torch.compile(self.sam.image_encoder) if compiled else self.sam.image_encoder
        self.decoder = PromptDecoder(decoder_parts(self.sam.mask_decoder))
        self.position = self.sam.prompt_encoder.get_dense_pe()[0]

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """See `PromptedNetwork.encode`."""
        reduced = [self.resize.apply_image(image) for image in images]
        dense = self.sam.prompt_encoder.no_mask_embed.weight.reshape(-1, 1, 1)
        out: dict[int, Embedding] = {}
        # What counts as padding may depend on the batch: only images of one shape share one.
        for shape in dict.fromkeys(image.shape for image in reduced):
            rows = [k for k, image in enumerate(reduced) if image.shape == shape]
            inputs = torch.stack(
                [torch.as_tensor(reduced[k], device=self.sam.device).permute(2, 0, 1) for k in rows]
            )
            encoded = self.encoder(self.sam.preprocess(inputs.float())) + dense
            for k, features in zip(rows, encoded, strict=True):
                out[k] = self._embedding(features, images[k].shape[:2], shape[:2])
        return [out[k] for k in range(len(images))]

    def _embedding(
        self, features: torch.Tensor, size: tuple[int, ...], reduced: tuple[int, ...]
    ) -> Embedding:
        side = self.sam.image_encoder.img_size
        rows, columns = (axis((4 * features.shape[1 + k], side, size[k]), used=reduced[k]) for k in (0, 1))
        scale = np.array([reduced[1] / size[1], reduced[0] / size[0]])
        return Embedding(features, None, scale, columns, rows, cells_of(columns, rows))

    def decode(
        self,
        embedding: Embedding,
        *,
        points: NDArray[np.float64] | None = None,
        boxes: NDArray[np.float64] | None = None,
        min_score: float = 0.0,
    ) -> Decoded:
        """See `PromptedNetwork.decode`."""
        device = self.sam.device
        placed = None
        if points is not None:
            at = torch.as_tensor(points, dtype=torch.float32, device=device)[:, None]
            placed = (at, torch.ones(at.shape[:2], dtype=torch.int, device=device))
        corners = None if boxes is None else torch.as_tensor(boxes, dtype=torch.float32, device=device)
        prompts, _ = self.sam.prompt_encoder(points=placed, boxes=corners, masks=None)
        return self.decoder(
            embedding.image,
            self.position,
            prompts,
            min_score=min_score,
            multimask=boxes is None,
            cells=embedding.cells,
        )
