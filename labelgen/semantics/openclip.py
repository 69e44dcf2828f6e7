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
from huggingface_hub import try_to_load_from_cache
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.precision import stored_feature
from labelgen.core.records import Regions, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.models.checkpoints import load_weights, read_state_dict, why_unreadable
from labelgen.models.execution import autocast, select_device
from labelgen.models.hub import fetching
from labelgen.models.info import ModelInfo
from labelgen.models.shipped import BPE_FILE
from labelgen.semantics.assignment import cell_classes, majority
from labelgen.semantics.clip_training import OPENAI_ENTRIES
from labelgen.semantics.clip_weights import FAULTS, SETTING, describe_open_clip, one_line
from labelgen.semantics.crops import missing_image, region_crops
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.dense_clip import DenseClip
from labelgen.semantics.modes import OTHER, choose_mode
from labelgen.semantics.prompts import Vocabulary, build_vocabulary
from labelgen.semantics.settings import OpenClipSettings
from labelgen.semantics.towers import make_tower


def load_open_clip(
    model: str, checkpoint: str | None, pretrained: str | None = None
) -> tuple[Any, Any, ModelInfo]:
    """Load a CLIP with its weights and its tokenizer, through open_clip's own factory.

    Returns:
        The model, its tokenizer, and what to record about it. Arguments as for `describe_open_clip`.

    Raises:
        UserError: as `describe_open_clip`, or a checkpoint that does not fit.
    """
    weights = describe_open_clip(model, checkpoint, pretrained)
    path, training = weights.path, weights.training
    folder = path if path.is_dir() else None
    name = f"local-dir:{folder}" if folder else model
    pixels = {"mean": training.mean, "std": training.std} if training else {}
    openai = read_state_dict(path, leave_out=OPENAI_ENTRIES) if weights.tag == "openai" else None
    try:
        with _quiet():
            source = None if folder or openai else str(path)
            network = open_clip.create_model(name, pretrained=source, force_preprocess_cfg=pixels)
            tokenizer = _tokenizer(name, folder)
    except FAULTS as error:
        other_shape = "loading state_dict" in str(error)
        problem = why_unreadable(weights.file, None if other_shape else error)
        raise UserError(
            f"checkpoint {path} {problem or f'cannot be loaded as {model}: {one_line(error)}'}"
        ) from None
    if openai is not None:
        load_weights(network, openai, path, weights.info.name)
    return network.eval(), tokenizer, weights.info


def _tokenizer(name: str, folder: Path | None) -> Any:
    """The tokenizer that belongs to a model; those of some architectures are on the hub."""
    if folder is not None:
        bpe = folder / BPE_FILE
        return open_clip.get_tokenizer(name, **({"bpe_path": str(bpe)} if bpe.is_file() else {}))
    source = open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name")
    if not source:
        return open_clip.get_tokenizer(name)
    if isinstance(try_to_load_from_cache(source, "tokenizer_config.json"), str):
        return open_clip.get_tokenizer(name, local_files_only=True)
    with fetching(f"the tokenizer {source} of {name}", SETTING):
        return open_clip.get_tokenizer(name)


class OpenClipEncoder:
    """Scores regions by what the image tower makes of them, in one of the modes of docs/semantics.md.

    With ``crop``, each region, its surroundings dimmed, goes through the tower; with the others each image
    does, once. Also a `labelgen.semantics.base.TextEncoder` and a `labelgen.semantics.dense.DenseEncoder`.

    Attributes:
        mode: that ``auto`` stands for, or the one asked for.
    """

    def __init__(
        self,
        config: OpenClipSettings,
        *,
        device: str = "auto",
        threads: int = 1,
        model: tuple[Any, Any, ModelInfo] | None = None,
    ) -> None:
        """Load the model, or take the one given.

        Raises:
            UserError: see `load_open_clip`, `select_device` and `choose_mode`.
        """
        self.config = config
        self.device = select_device(device, threads)
        network, self.tokenizer, self.info = model or load_open_clip(
            config.model, config.checkpoint, config.pretrained
        )
        self.network = network.to(self.device)
        size = network.visual.image_size
        self.image_size = int(size if isinstance(size, int) else size[0])
        self.mean = np.asarray(network.visual.image_mean, np.float32)
        self.std = np.asarray(network.visual.image_std, np.float32)
        self.temperature = config.temperature or float(1 / network.logit_scale.detach().exp())
        self._vocabularies: dict[str, Vocabulary] = {}
        tower = make_tower(self.network.visual)
        family = tower.family if tower else OTHER
        self.mode = choose_mode(family, config)
        self._dense = None
        if tower:
            dense_mode = family.modes[0] if self.mode == "crop" else self.mode
            self._dense = DenseClip(
                tower, dense_mode, config, mean=self.mean, std=self.std, device=self.device
            )

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
        feature, maps = self._look(images, regions, with_maps=self.config.assignment == "rsa")
        return self._semantics(feature, maps, regions, taxonomy)

    def encode_with_dense(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions, taxonomy: Taxonomy
    ) -> tuple[Semantics, list[DenseMap | None]]:
        """Semantics and dense maps; see `DenseEncoder.encode_with_dense`.

        Raises:
            UserError: the architecture has no dense features.
            ValueError: a region lies in an image that is not there.
        """
        feature, maps = self._look(images, regions, with_maps=True)
        return self._semantics(feature, maps, regions, taxonomy), maps

    def dense(self, images: Sequence[NDArray[np.uint8] | None]) -> list[DenseMap | None]:
        """Dense maps; see `DenseEncoder.dense`.

        Raises:
            UserError: the architecture has no dense features.
        """
        tower = self._dense_clip()
        return [None if image is None else tower.encode(image)[1] for image in images]

    def features(self, images: Sequence[NDArray[np.uint8] | None], regions: Regions) -> NDArray[np.float32]:
        """(K, D) float32, L2-normalised image features of a frame's regions; zeros for those without pixels.

        Raises:
            ValueError: a region lies in an image that is not there.
        """
        return self._look(images, regions, with_maps=False)[0]

    def _semantics(
        self,
        feature: NDArray[np.float32],
        maps: list[DenseMap | None],
        regions: Regions,
        taxonomy: Taxonomy,
    ) -> Semantics:
        """Classes from the features, or by the pixels' majority."""
        vocabulary, stored = self.vocabulary(taxonomy), stored_feature(feature, self.config.feature_bits)
        scores, label = vocabulary.score(stored, self.temperature)
        if self.config.assignment == "rsa":
            for camera in np.unique(regions.camera):
                dense, rows = maps[camera], regions.camera_slice(int(camera))
                assert dense is not None
                classes = cell_classes(dense, vocabulary)
                scores[rows], label[rows] = majority(regions.rle[rows], classes, len(taxonomy), dense.size)
        return Semantics(class_scores=scores, label=label, feature=stored)

    def _look(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions, *, with_maps: bool
    ) -> tuple[NDArray[np.float32], list[DenseMap | None]]:
        """Features of the regions, and maps of the images."""
        if self.mode == "crop":
            return self._crop_features(images, regions), self.dense(images) if with_maps else []
        feature = np.zeros((len(regions), self.width), np.float32)
        maps: list[DenseMap | None] = []
        for camera, image in enumerate(images):
            rows = regions.camera_slice(camera)
            if image is None:
                if rows.stop > rows.start:
                    raise missing_image(rows, camera)
                maps.append(None)
            elif with_maps or rows.stop > rows.start:
                feature[rows], dense = self._dense_clip().encode(image, regions.rle[rows], with_map=with_maps)
                maps.append(dense)
        return feature, maps

    def _dense_clip(self) -> DenseClip:
        if self._dense is None:
            raise UserError(f"{self.config.model} has no dense features: {OTHER.reason}")
        return self._dense

    def _crop_features(
        self, images: Sequence[NDArray[np.uint8] | None], regions: Regions
    ) -> NDArray[np.float32]:
        """Features of the regions' crops.

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
        feature[regions.area == 0] = 0
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
                tensor = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # channels last
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
