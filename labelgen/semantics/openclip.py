"""Region semantics by any open_clip model, the small demo model among them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray

from labelgen.config import SemanticsConfig
from labelgen.errors import UserError
from labelgen.models.execution import autocast, select_device
from labelgen.models.info import ModelInfo
from labelgen.models.shipped import BPE_FILE
from labelgen.records import Regions, Semantics
from labelgen.semantics.clip_weights import FAULTS, describe_open_clip, one_line
from labelgen.semantics.crops import region_crops
from labelgen.semantics.prompts import Vocabulary, build_vocabulary
from labelgen.taxonomy import Taxonomy


def load_open_clip(model: str, checkpoint: str | None) -> tuple[Any, Any, ModelInfo]:
    """Load a CLIP with its weights and its tokenizer, through open_clip's own factory.

    Returns:
        The model, its tokenizer, and what to record about it. Arguments as for `describe_open_clip`.

    Raises:
        UserError: as `describe_open_clip`, or a checkpoint that does not fit.
    """
    path, info = describe_open_clip(model, checkpoint)
    folder = path if path.is_dir() else None
    name = f"local-dir:{folder}" if folder else model
    try:
        with _quiet():
            # By its tag, if it has one: mean and deviation of the pixels come with it.
            public = str(path) if checkpoint is None or Path(checkpoint).is_file() else checkpoint
            network = open_clip.create_model(name, pretrained=None if folder else public)
            bpe = {"bpe_path": str(folder / BPE_FILE)} if folder and (folder / BPE_FILE).is_file() else {}
            tokenizer = open_clip.get_tokenizer(name, **bpe)
    except FAULTS as error:
        raise UserError(f"checkpoint {path} cannot be loaded as {model}: {one_line(error)}") from error
    return network.eval(), tokenizer, info


class OpenClipEncoder:
    """Scores regions by crops: each region, its surroundings dimmed, goes through the image tower.

    Also a `labelgen.semantics.base.TextEncoder`.
    """

    def __init__(
        self,
        config: SemanticsConfig,
        *,
        device: str = "auto",
        threads: int = 1,
        model: tuple[Any, Any, ModelInfo] | None = None,
    ) -> None:
        """Load the model, or take the one given.

        Raises:
            UserError: see `load_open_clip` and `select_device`.
        """
        self.config = config
        self.device = select_device(device, threads)
        network, self.tokenizer, self.info = model or load_open_clip(config.model, config.checkpoint)
        self.network = network.to(self.device)
        size = network.visual.image_size
        self.image_size = int(size if isinstance(size, int) else size[0])
        self.mean = np.asarray(network.visual.image_mean, np.float32)
        self.std = np.asarray(network.visual.image_std, np.float32)
        self.temperature = config.temperature or float(1 / network.logit_scale.detach().exp())
        self._vocabularies: dict[str, Vocabulary] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(T, D) float32, L2-normalised text features; texts beyond the context length are cut."""
        rows = []
        with torch.inference_mode(), autocast(self.device):
            for begin in range(0, len(texts), self.config.batch_size):
                tokens = self.tokenizer(list(texts[begin : begin + self.config.batch_size]))
                feature = self.network.encode_text(tokens.to(self.device), normalize=False)
                rows.append(torch.nn.functional.normalize(feature.float(), dim=-1).cpu())
        return torch.cat(rows).numpy() if rows else np.zeros((0, self.width), np.float32)

    @property
    def width(self) -> int:
        """D, width of the features."""
        projection = getattr(self.network, "text_projection", None)
        return int(projection.shape[-1] if projection is not None else self.network.visual.output_dim)

    def vocabulary(self, taxonomy: Taxonomy) -> Vocabulary:
        """Text features of the taxonomy's words, computed once."""
        key = taxonomy.digest()
        if key not in self._vocabularies:
            self._vocabularies[key] = build_vocabulary(self, taxonomy)
        return self._vocabularies[key]

    def class_embedding(self, taxonomy: Taxonomy) -> NDArray[np.float32]:
        """(C, D) float32, L2-normalised text feature of every class."""
        return self.vocabulary(taxonomy).class_embedding()

    def encode(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions, taxonomy: Taxonomy
    ) -> Semantics:
        """Semantics of a frame's regions; see `SemanticEncoder.encode`.

        Raises:
            ValueError: a region lies in an image that is not there.
        """
        feature = self.features(images, regions).astype(np.float16)
        scores, label = self.vocabulary(taxonomy).score(feature, self.temperature)
        return Semantics(class_scores=scores, label=label, feature=feature)

    def features(self, images: Sequence[NDArray[np.uint8] | None], regions: Regions) -> NDArray[np.float32]:
        """(K, D) float32, L2-normalised image features of a frame's regions.

        With ``context``, regions whose crop is narrower are looked at a second time with at least that much
        around them, and both features are averaged: a piece of a wall says little without the house. Crops
        at several scales: Takmaz et al. 2023 (OpenMask3D, arXiv 2306.13631), section 3.2.
        """
        feature = self.encode_crops(self.crops(images, regions))
        if self.config.context:
            sides = (regions.box_xyxy[:, 2:] - regions.box_xyxy[:, :2]).max(axis=1, initial=1.0)
            rows = np.flatnonzero(sides * self.config.crop_scale < self.config.context)
            feature[rows] += self.encode_crops(self.crops(images, regions, self.config.context, rows))
            feature[rows] /= np.linalg.norm(feature[rows], axis=1, keepdims=True)
        return feature

    def crops(
        self,
        images: Sequence[NDArray[np.uint8] | None],
        regions: Regions,
        least: float = 0.0,
        rows: NDArray[np.int64] | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """(S, S, 3) uint8 crops of regions, in order; see `labelgen.semantics.crops.region_crops`."""
        return region_crops(
            images,
            regions,
            size=self.image_size,
            scale=self.config.crop_scale,
            background=self.config.background,
            mean=tuple(float(value) for value in self.mean * 255),  # type: ignore[arg-type]
            least=least,
            rows=rows,
        )

    def encode_crops(self, crops: Iterator[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(K, D) float32, L2-normalised image features of (S, S, 3) uint8 crops."""
        rows = [np.zeros((0, self.width), np.float32)]
        with torch.inference_mode(), autocast(self.device):
            for batch in _batches(crops, self.config.batch_size):
                pixels = (np.stack(batch).astype(np.float32) / 255 - self.mean) / self.std
                tensor = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).contiguous().to(self.device)
                feature = self.network.encode_image(tensor, normalize=False)
                rows.append(torch.nn.functional.normalize(feature.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)


def _batches(items: Iterator[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    batch: list[NDArray[np.uint8]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's remarks, which go to the root logger, out of the user's terminal."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
