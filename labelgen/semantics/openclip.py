"""Region semantics by any open_clip model, the small demo model among them."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from labelgen.config import SemanticsConfig
from labelgen.errors import UserError
from labelgen.models.execution import autocast, select_device
from labelgen.models.info import ModelInfo, file_hash
from labelgen.models.shipped import (
    BPE_FILE,
    LICENCE,
    NOTE,
    TRAINING_FILE,
    shipped_dir,
    shipped_revision,
)
from labelgen.records import Regions, Semantics
from labelgen.semantics.crops import region_crops
from labelgen.semantics.prompts import Vocabulary, build_vocabulary
from labelgen.taxonomy import Taxonomy

#: open_clip's first choice among the files of a ``local-dir:``.
DIRECTORY_WEIGHTS = "open_clip_model.safetensors"
#: What open_clip, torch and the hub raise on files that they cannot use.
FAULTS = (RuntimeError, ValueError, OSError, EOFError, KeyError, SafetensorError, pickle.UnpicklingError)


def describe_open_clip(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Path of a CLIP's weights, and what to record about it, without loading it.

    Args:
        model: ``demo`` (shipped) or an open_clip architecture.
        checkpoint: path of the weights, an open_clip pretrained tag, or a folder as open_clip writes it
            (``open_clip_config.json`` beside ``open_clip_model.safetensors``); None for ``demo``.

    Returns:
        The folder or file of the weights (fetched first if it is a tag), and what to record.

    Raises:
        UserError: unknown architecture, no checkpoint given, or one that cannot be had; names it.
    """
    folder = _folder(model, checkpoint)
    if folder is not None:
        path, shipped = folder / DIRECTORY_WEIGHTS, (folder / TRAINING_FILE).is_file()
        if not path.is_file():
            raise UserError(f"checkpoint folder {folder} holds no {DIRECTORY_WEIGHTS}")
    else:
        path, shipped = _public_weights(model, checkpoint), False
    public = f"{checkpoint}, open_clip {version('open_clip_torch')}"
    return folder or path, ModelInfo(
        name=f"open_clip:{model}",
        revision=shipped_revision(folder) if shipped and folder else public,
        licence=LICENCE if shipped else "see the publisher of the weights",
        weights=file_hash(path),
        note=NOTE if shipped else "",
    )


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
        raise UserError(f"checkpoint {path} cannot be loaded as {model}: {_reason(error)}") from error
    return network.eval(), tokenizer, info


def _folder(model: str, checkpoint: str | None) -> Path | None:
    if checkpoint:
        return Path(checkpoint) if Path(checkpoint).is_dir() else None
    return shipped_dir("clip") if model == "demo" else None


def _public_weights(model: str, checkpoint: str | None) -> Path:
    if model not in open_clip.list_models():
        raise UserError(f"semantics.model={model!r} is neither demo nor an architecture of open_clip")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    if checkpoint is None:
        raise UserError(
            f"semantics.model={model} needs semantics.checkpoint: a path, or one of the tags {tags}"
        )
    if Path(checkpoint).is_file():
        return Path(checkpoint)
    tag = open_clip.pretrained.get_pretrained_cfg(model, checkpoint)
    if not tag:
        raise UserError(f"checkpoint {checkpoint} is neither a file nor a tag of {model}; tags: {tags}")
    if bool(tag.get("quick_gelu")) != bool(open_clip.get_model_config(model).get("quick_gelu")):
        other = model.removesuffix("-quickgelu") + ("-quickgelu" if tag.get("quick_gelu") else "")
        raise UserError(f"the weights {checkpoint} were trained as {other}: set semantics.model={other}")
    try:
        return Path(open_clip.pretrained.download_pretrained(tag))
    except FAULTS as error:
        raise UserError(f"weights {checkpoint} of {model} cannot be fetched: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


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
