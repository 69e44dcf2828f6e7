"""What can be set of our region proposers: one class per backend. Without torch, as drivers ask for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from labelgen.core.settings import NO_LABEL, Settings


class Proposer(Settings):
    """What all backends have, those of other packages, too."""

    backend: str = Field(description="how regions are proposed")
    label_map: Annotated[bool, NO_LABEL] = Field(
        False, description="also write each image's regions as a 16-bit PNG"
    )


class Superpixels(Settings):
    """Superpixels: a partition of the image, without a network."""

    max_side: int | None = Field(
        None,
        ge=64,
        le=16_384,
        description="superpixel: images are first reduced to this longer side, pixels",
    )
    superpixel_method: Literal["slic", "felzenszwalb"] = Field(
        "slic", description="SLIC, or Felzenszwalb's graph cuts"
    )
    superpixel_segments: int = Field(150, ge=1, le=10_000, description="slic: approximate number per image")
    superpixel_compactness: float = Field(
        6.0, gt=0, le=10**6, description="slic: weight of nearness against colour"
    )
    superpixel_sigma: float = Field(3.0, ge=0, le=100, description="superpixel: smoothing, pixels")
    superpixel_scale: float = Field(
        100.0, gt=0, le=10**6, description="felzenszwalb: larger gives larger segments"
    )
    superpixel_min_size: int = Field(
        50, ge=1, le=10**9, description="felzenszwalb: pixels of the smallest segment"
    )

    def idle(self) -> frozenset[str]:
        """What only the other method has."""
        if self.superpixel_method == "slic":
            return frozenset({"superpixel_scale", "superpixel_min_size"})
        return frozenset({"superpixel_segments", "superpixel_compactness"})


class SuperpixelSettings(Proposer, Superpixels):
    """Superpixels alone."""

    backend: Literal["superpixel"] = Field("superpixel", description="how regions are proposed")


class Masks(Proposer, Superpixels):
    """A backend whose masks superpixels may join."""

    superpixel_score: float = Field(
        0.0, ge=0, le=1, description="score of superpixels (with points) beside the masks; 0: none"
    )

    def idle(self) -> frozenset[str]:
        """All about superpixels, where there are none."""
        return super().idle() if self.superpixel_score else frozenset(Superpixels.model_fields)


class FileSettings(Masks):
    """Regions that another model wrote."""

    backend: Literal["files"] = Field("files", description="how regions are proposed")
    folder: str | None = Field(None, description="where the id maps are; needed")
    names: str | None = Field(
        None, description="nuScenes' sample_data.json, if maps are named by sample_data tokens"
    )
    background: int | None = Field(None, ge=0, le=65_535, description="id of pixels in no region; null: none")


class Sam3Settings(Masks):
    """SAM 3: instances of concepts that are given as words."""

    backend: Literal["sam3"] = Field("sam3", description="how regions are proposed")
    model: str = Field("demo", description="a name on the hub; there is no demo model")
    checkpoint: Annotated[str | None, NO_LABEL] = Field(
        None, description="folder of the weights; null: the hub's"
    )
    words: tuple[str, ...] = Field((), max_length=1000, description="the concepts to look for; needed")
    word_score_thresh: float = Field(0.3, ge=0, le=1, description="least score of an instance")
    duplicate_iou: float = Field(
        0.9,
        gt=0,
        le=1,
        description="masks that overlap at least this much are one region; 1: only equal ones",
    )
    containment: float = Field(
        0.9,
        gt=0.5,
        le=1,
        description="share of a region that must lie inside a larger one for it to be its part",
    )
    precision: Literal["auto", "float32"] = Field("auto", description="auto: bfloat16 on a GPU")


class PromptedSettings(Masks):
    """A network that makes masks of prompts: Sam, SAM 2."""

    mode: Literal["lidar", "grid", "boxes"] = Field(
        "lidar", description="prompts on visible points, on a grid, or boxes that the caller gives"
    )
    max_prompts: int = Field(256, ge=1, le=16_384, description="lidar: most prompts per image")
    coverage: float = Field(0.99, ge=0, le=1, description="lidar: share of the visible points to be in masks")
    depth_jump: float = Field(
        0.15, gt=0, le=10, description="lidar: share of the depth from which a step is another surface"
    )
    points_per_side: int = Field(32, ge=1, le=128, description="grid: prompts along each side")
    crop_layers: int = Field(0, ge=0, le=3, description="lidar, grid: also (2^k)^2 crops, k = 1..crop_layers")
    crop_points_downscale: int = Field(
        1, ge=1, le=64, description="grid: fewer points per side by this, per layer"
    )
    pred_iou_thresh: float = Field(
        0.88, ge=0, le=1, description="masks whose predicted IoU is lower are left out"
    )
    stability_score_thresh: float = Field(
        0.95, ge=0, le=1, description="masks that change more with the threshold are left out"
    )
    box_nms_thresh: float = Field(
        0.7, ge=0, le=1, description="IoU of boxes above which the mask with the lower score is left out"
    )
    min_mask_region_area: int = Field(
        0, ge=0, le=10**9, description="pixels; smaller holes and islands are removed"
    )
    duplicate_iou: float = Field(
        0.9,
        gt=0,
        le=1,
        description="masks that overlap at least this much are one region; 1: only equal ones",
    )
    containment: float = Field(
        0.9,
        gt=0.5,
        le=1,
        description="share of a region that must lie inside a larger one for it to be its part",
    )
    precision: Literal["auto", "float32"] = Field("auto", description="auto: bfloat16 on a GPU")
    compile: bool = Field(False, description="torch.compile the image encoder: minutes first, then faster")
    points_per_batch: Annotated[int, NO_LABEL] = Field(
        64, ge=1, le=4096, description="prompts decoded at once; bounds the memory"
    )
    images_per_batch: Annotated[int, NO_LABEL] = Field(
        6, ge=1, le=64, description="images encoded at once; bounds the memory"
    )


class SamSettings(PromptedSettings):
    """Sam, the model of Kirillov et al. 2023."""

    backend: Literal["sam"] = Field("sam", description="how regions are proposed")
    model: str = Field("demo", description="demo, vit_b, vit_l or vit_h")
    checkpoint: Annotated[str | None, NO_LABEL] = Field(
        None, description="path of the weights; null for the demo model"
    )


class Sam2Settings(PromptedSettings):
    """SAM 2.1, the model of Ravi et al. 2024."""

    backend: Literal["sam2"] = Field("sam2", description="how regions are proposed")
    model: str = Field("demo", description="a name on the hub; there is no demo model")
    checkpoint: Annotated[str | None, NO_LABEL] = Field(
        None, description="folder of the weights; null: the hub's"
    )
