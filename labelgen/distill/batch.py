"""What a network sees in one step: points of several frames, what the images say of them, their labels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from labelgen.core.records import UNLABELLED

#: ``Batch.label`` of points without a class, for ``ignore_index``.
IGNORE = UNLABELLED
#: ``Batch.view_region`` of a view in no region, ``Batch.instance`` of a point in no object,
#: ``Batch.raw_point`` of a point that was left out.
NONE = -1


@dataclass(frozen=True)
class Batch:
    """B frames, their rows one after another. N points (voxels), V views, K regions, D feature width.

    Numbers of points and regions count through the whole batch, so that they can be used as indices as
    they are. What a method does not ask for (see `labelgen.distill.methods.base.Method.needs`) may be None.

    Attributes:
        frame_id: B ids.
        xyz: (N, 3) float32, metres in the LiDAR frame, after augmentation.
        inputs: (N, 5) float32 input of the network: intensity (normalised), x, y, z, range (metres).
        frame: (N,) int64 frame of each point, 0..B-1, ascending.
        label: (N,) int64 class, 255 (`IGNORE`) for none.
        confidence: (N,) float32 in 0..1, of the label; 1 where the labels are true ones.
        instance: (N,) int64 number of the object that the point is of, 0, 1, ... through the whole batch, the
            objects of a frame together; -1 (`NONE`) for stuff, for points without a label, and for things
            that have no number in the run.
        neighbours: (N, k) int64 nearest points of the same frame, itself not among them; as many as the
            backbone wants. Frames of at most k points repeat some of their own.
        view_point: (V,) int64 point of each view. A view stands for a raw point that a camera sees and has
            the number of that point's voxel: of several raw points in a voxel, the same pair comes up more
            than once, which weights it by what it stands for.
        view_camera: (V,) int64 camera within its frame.
        view_uv: (V, 2) float32 pixels.
        view_region: (V,) int64 smallest region at the view's pixel, -1 (`NONE`) for none.
        region_frame: (K,) int64 frame of each region, ascending.
        region_camera: (K,) int64 camera within its frame.
        region_label: (K,) int64 best class, 255 where void words win.
        region_scores: (K, C) float32 probabilities of the classes; what is missing to 1 is void.
        region_feature: (K, D) float32, L2-normalised image feature.
        caption_feature: (K, D) float32, L2-normalised text feature of the region's caption.
        raw_point: (R,) int64 for every raw point of the B files: the point that answers for it (its own
            voxel's, else the nearest), to bring predictions back to all points; evaluation only.
        raw_frame: (R,) int64 frame of each raw point, ascending; evaluation only.
    """

    frame_id: tuple[str, ...]
    xyz: Tensor
    inputs: Tensor
    frame: Tensor
    label: Tensor | None = None
    confidence: Tensor | None = None
    instance: Tensor | None = None
    neighbours: Tensor | None = None
    view_point: Tensor | None = None
    view_camera: Tensor | None = None
    view_uv: Tensor | None = None
    view_region: Tensor | None = None
    region_frame: Tensor | None = None
    region_camera: Tensor | None = None
    region_label: Tensor | None = None
    region_scores: Tensor | None = None
    region_feature: Tensor | None = None
    caption_feature: Tensor | None = None
    raw_point: Tensor | None = None
    raw_frame: Tensor | None = None

    def __len__(self) -> int:
        """N, points of all frames."""
        return len(self.xyz)

    @property
    def frames(self) -> int:
        """B."""
        return len(self.frame_id)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)  # type: ignore[arg-type]

    def pin_memory(self) -> Self:
        """The same batch in pinned memory; `torch.utils.data.DataLoader` calls this."""
        pinned = {
            field.name: value.pin_memory()
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **pinned)  # type: ignore[arg-type]
