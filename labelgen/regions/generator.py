"""Masks of images by prompts: on a grid, on visible LiDAR points, or by boxes.

The filters are those of the official generator (Kirillov et al. 2023, arXiv 2304.02643, appendix B: predicted
IoU, stability, suppression by boxes), on masks that are never upsampled to pixels. In ``grid`` mode the masks
are the official generator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import generate_crop_boxes, is_box_near_crop_edge

from labelgen.models.execution import autocast, select_device
from labelgen.models.info import ModelInfo
from labelgen.regions.base import ImageRegions, Prompts, RegionProposer, as_rgb, regions_of_runs
from labelgen.regions.masks import MaskSet, join_ends, remove_specks
from labelgen.regions.network import Embedding, PromptedNetwork
from labelgen.regions.overlap import choose_regions, covered
from labelgen.regions.prompts import grid, thin
from labelgen.regions.settings import PromptedSettings
from labelgen.regions.upsample import Window, trace

#: Share of the prompts that the first round on LiDAR points may use; the rest goes where no mask is yet.
FIRST_ROUND = 0.5
#: Rounds of prompts on LiDAR points.
ROUNDS = 4
#: Crops overlap by this share of the image's shorter side, and their masks' boxes by this IoU at most; the
#: official generator's defaults.
CROP_OVERLAP, CROP_NMS_THRESH = 512 / 1500, 0.7


class PromptedProposer(RegionProposer):
    """Regions by Sam or SAM 2."""

    def __init__(
        self, config: PromptedSettings, network: PromptedNetwork, *, device: str = "auto", threads: int = 1
    ) -> None:
        """Take a network to a device.

        Raises:
            UserError: the device is not there.
        """
        self.config, self.network = config, network
        self.device = select_device(device, threads)
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        network.to(self.device, compiled=config.compile)

    @property
    def info(self) -> ModelInfo:
        """See `RegionProposer.info`."""
        return self.network.info

    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Regions of one image, best score first, those of boxes in their order.

        Mode ``lidar`` without prompts is mode ``grid``. Masks without a pixel are left out. See
        `RegionProposer.propose`.

        Raises:
            ValueError: mode ``boxes`` without boxes, or scores that are not numbers.
        """
        return self.propose_frame([image], None if prompts is None else [prompts])[0]  # type: ignore[return-value]

    @torch.inference_mode()
    def propose_frame(
        self, images: Sequence[NDArray[np.uint8] | None], prompts: Sequence[Prompts] | None = None
    ) -> list[ImageRegions | None]:
        """Regions of a frame's images, encoded together; see `propose`."""
        known: Sequence[Prompts | None] = prompts or [None] * len(images)
        present = [
            (k, as_rgb(image), given)
            for k, (image, given) in enumerate(zip(images, known, strict=True))
            if image is not None
        ]
        out: list[ImageRegions | None] = [None] * len(images)
        size = self.config.images_per_batch
        for begin in range(0, len(present), size):
            batch = present[begin : begin + size]
            for (k, image, given), embedding in zip(
                batch, self._encode([image for _, image, _ in batch]), strict=True
            ):
                out[k] = self._regions(self._masks(image, embedding, given), image.shape[:2])
        return out

    def _encode(self, images: list[NDArray[np.uint8]]) -> list[Embedding]:
        with self._precision():
            return self.network.encode(images)

    def _precision(self) -> AbstractContextManager[Any]:
        return autocast(self.device if self.config.precision == "auto" else torch.device("cpu"))

    def _masks(self, image: NDArray[np.uint8], embedding: Embedding, given: Prompts | None) -> MaskSet:
        height, width = image.shape[:2]
        whole = Window(0, 0, width, height)
        mode = self.config.mode
        if mode == "boxes":
            if given is None or given.boxes is None:
                raise ValueError("regions.mode=boxes needs boxes from the caller; use lidar or grid")
            corners = given.boxes.astype(np.float64).reshape(-1, 4) * np.tile(embedding.scale, 2)
            return self._candidates(embedding, whole, corners, boxes=True)
        if mode == "lidar" and given is not None and given.uv is not None and given.depth is not None:
            return self._by_surfaces(image, embedding, whole, given.uv, given.depth)
        return self._by_grid(image, embedding, whole)

    def _by_grid(self, image: NDArray[np.uint8], embedding: Embedding, whole: Window) -> MaskSet:
        """Masks of a grid of points, and of grids over crops."""
        config = self.config
        crops, layers = generate_crop_boxes(image.shape[:2], config.crop_layers, CROP_OVERLAP)
        found = []
        for (left, top, right, bottom), layer in zip(crops, layers, strict=True):
            window = whole._replace(left=left, top=top)
            size = np.array([right - left, bottom - top])
            if layer:
                embedding = self._encode([np.ascontiguousarray(image[top:bottom, left:right])])[0]
            points = grid(int(config.points_per_side / config.crop_points_downscale**layer)) * size
            masks = self._candidates(embedding, window, points * embedding.scale)
            found.append(masks.suppressed(config.box_nms_thresh))
        masks = MaskSet.joined(found)
        if len(crops) > 1:
            masks = masks.suppressed(CROP_NMS_THRESH, preference=1 / masks.crop_area)
        return masks

    def _by_surfaces(
        self,
        image: NDArray[np.uint8],
        embedding: Embedding,
        whole: Window,
        uv: NDArray[np.float32],
        depth: NDArray[np.float32],
    ) -> MaskSet:
        """Masks of surfaces that LiDAR points lie on, in the image and in crops of it.

        Each layer of crops, and the image, has the same share of the prompts; in a layer each point belongs
        to the crop whose middle is nearest, and crops have prompts by the number of their points.
        """
        config = self.config
        crops, layers = generate_crop_boxes(image.shape[:2], config.crop_layers, CROP_OVERLAP)
        boxes, layer = np.asarray(crops, np.float64), np.asarray(layers)
        budget = config.max_prompts // (config.crop_layers + 1)
        first = config.max_prompts - budget * config.crop_layers
        masks = self._by_points(embedding, whole, (whole.width, whole.height), uv, depth, first)
        for number in range(1, config.crop_layers + 1):
            rows = np.flatnonzero(layer == number)
            middle = (boxes[rows, :2] + boxes[rows, 2:]) / 2
            owner = rows[((uv[:, None] - middle) ** 2).sum(axis=2).argmin(axis=1)]
            for row in np.unique(owner):
                left, top, right, bottom = crops[row]
                mine = owner == row
                share = int(budget * mine.mean())
                part = self._encode([np.ascontiguousarray(image[top:bottom, left:right])])[0]
                window, size = whole._replace(left=left, top=top), (right - left, bottom - top)
                found = self._by_points(part, window, size, uv[mine], depth[mine], share)
                masks = MaskSet.joined([masks, found])
        if len(crops) > 1:
            masks = masks.suppressed(CROP_NMS_THRESH, preference=1 / masks.crop_area)
        return masks

    def _by_points(
        self,
        embedding: Embedding,
        window: Window,
        size: tuple[int, int],
        uv: NDArray[np.float32],
        depth: NDArray[np.float32],
        budget: int,
    ) -> MaskSet:
        """Masks of points in an image or a crop, in rounds: each prompts where no mask is yet."""
        config = self.config
        column = np.clip(np.floor(uv[:, 0] + 0.5), 0, window.width - 1).astype(np.int32)
        row = np.clip(np.floor(uv[:, 1] + 0.5), 0, window.height - 1).astype(np.int32)
        pixel = column * np.int32(window.height) + row
        corner = np.array([window.left, window.top])
        masks = MaskSet.joined([])
        bare, asked = np.ones(len(uv), bool), np.zeros(len(uv), bool)
        left = budget
        for number in range(ROUNDS):
            if bare.sum() <= (1 - config.coverage) * len(uv):
                break
            open_ = np.flatnonzero(bare & ~asked)
            wanted = left if number else ceil(FIRST_ROUND * left)
            chosen = open_[thin(uv[open_], depth[open_], wanted, side=max(size), jump=config.depth_jump)]
            if len(chosen) == 0:
                break
            asked[chosen] = True
            left -= len(chosen)
            points = (uv[chosen].astype(np.float64) - corner + 0.5) * embedding.scale - 0.5
            masks = MaskSet.joined([masks, self._candidates(embedding, window, points)])
            masks = masks.suppressed(config.box_nms_thresh)
            bare = ~covered(masks.runs, pixel)
        return masks

    def _candidates(
        self, embedding: Embedding, window: Window, prompts: NDArray[np.float64], *, boxes: bool = False
    ) -> MaskSet:
        """Masks of prompts, in pixels of the network's input; those of points must pass the filters."""
        config = self.config
        found = []
        for begin in range(0, len(prompts), config.points_per_batch):
            batch = prompts[begin : begin + config.points_per_batch]
            with self._precision():
                if boxes:
                    decoded = self.network.decode(embedding, boxes=batch)
                else:
                    decoded = self.network.decode(embedding, points=batch, min_score=config.pred_iou_thresh)
            logits = decoded.logits[:, : embedding.columns.logits, : embedding.rows.logits]
            ends, stability = trace(
                logits.float().cpu().contiguous().numpy(),
                embedding.columns,
                embedding.rows,
                window,
                pool=self.pool,
                threads=self.threads,
            )
            masks = MaskSet.of(
                ends,
                decoded.score.cpu().numpy(),
                stability,
                window.height,
                embedding.width * embedding.height,
            )
            if config.stability_score_thresh > 0 and not boxes:
                masks = masks.take(stability >= config.stability_score_thresh)
            found.append(masks)
        masks = MaskSet.joined(found)
        if boxes or not len(masks):
            return masks
        # A mask that ends at a crop's edge, not at the image's, is cut off.
        left, top = window.left, window.top
        local = torch.from_numpy(masks.box - np.array([left, top, left, top], np.float32))
        crop = [left, top, left + embedding.width, top + embedding.height]
        cut = is_box_near_crop_edge(local, crop, [0, 0, window.width, window.height]).numpy()
        return masks.take(~cut)

    def _regions(self, masks: MaskSet, size: tuple[int, ...]) -> ImageRegions:
        config = self.config
        height, width = size
        boxes = config.mode == "boxes"
        if config.min_mask_region_area > 0 and len(masks) and not boxes:
            thresh = max(config.box_nms_thresh, CROP_NMS_THRESH)
            masks = remove_specks(masks, config.min_mask_region_area, (height, width), thresh)
        masks = masks.take(np.array([len(ends) > 1 for ends in masks.ends], bool))
        # The caller's boxes keep their order, and none is left out for another.
        score = np.zeros(len(masks), np.float32) if boxes else masks.score
        duplicate_iou = 2.0 if boxes else config.duplicate_iou
        rows, parent = choose_regions(masks.runs, height, score, duplicate_iou, config.containment)
        masks = masks.take(rows)
        return regions_of_runs(join_ends(masks.ends), (height, width), masks.score, masks.stability, parent)
