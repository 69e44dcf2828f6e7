"""What can be set of our sources of meaning. Without torch, as drivers ask for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from labelgen.core.settings import ADDED, NO_LABEL, Settings

_Cells = Annotated[int, Field(ge=1, le=256)]


class SemanticSettings(Settings):
    """What all backends have, those of other packages, too."""

    backend: str = Field(description="how regions get a meaning")


class DenseFeatureSettings(Settings):
    """A dense map of features for every image, stored beside the shards."""

    grid: tuple[_Cells, _Cells] = Field((28, 50), description="rows and columns over an image")
    dtype: Literal["float16", "int8"] = Field("float16", description="int8: half the size, with a scale each")


class CaptionSettings(Settings):
    """Which model describes regions in words, what it sees of them, and what its words count.

    The defaults suit the shipped model. Public models have seen whole photographs: give them
    ``caption_crop_scale=1.2, caption_background=1.0``.
    """

    captions: Annotated[str, ADDED] = Field(
        "none",
        description="none, blip2 or another package's: also describe regions in words; an order of "
        "magnitude slower than all the rest",
    )
    caption_model: str = Field("demo", description="demo, or a BLIP-2 of the hub")
    caption_checkpoint: Annotated[str | None, NO_LABEL] = Field(
        None, description="folder of the weights; null: the model's own"
    )
    caption_regions: int = Field(
        32, ge=1, le=10_000, description="number of regions captioned per image, the largest by area x points"
    )
    caption_strategy: Literal["template", "caption", "both"] = Field(
        "both", description="classes of captioned regions: from their image, their caption, or both"
    )
    caption_temperature: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="temperature of the softmax over a caption's classes; null: 20 times the images', 6 "
        "times alone",
    )
    caption_crop_scale: float = Field(1.8, ge=1, le=100, description="as crop_scale, for captions")
    caption_background: float = Field(0.5, ge=0, le=1, description="as background, for captions")
    caption_tokens: int = Field(20, ge=1, le=200, description="tokens of the longest caption")
    caption_batch_size: Annotated[int, NO_LABEL] = Field(
        64, ge=1, le=4096, description="crops per forward pass"
    )

    def idle(self) -> frozenset[str]:
        """How captions are made, where there are none."""
        return frozenset(CaptionSettings.model_fields) if self.captions == "none" else frozenset()


class GivenSettings(SemanticSettings):
    """Classes that another 2D model wrote."""

    backend: Literal["given"] = Field("given", description="how regions get a meaning")
    folder: str | None = Field(None, description="where the class maps or scores are; needed")
    vocabulary: str = Field(
        "cityscapes", description="what their ids mean: cityscapes, cityscapes-ids, or a YAML file"
    )
    names: str | None = Field(
        None, description="nuScenes' sample_data.json, if files are named by sample_data tokens"
    )
    assignment: Literal["mean", "majority"] = Field(
        "mean", description="a region's scores: the shares of its pixels, or all for the class of the most"
    )
    unmapped: Literal["error", "void"] = Field(
        "error", description="classes of theirs that are none of ours: are refused, or get no label"
    )


class OpenClipSettings(SemanticSettings, CaptionSettings):
    """Any CLIP of open_clip."""

    backend: Literal["open_clip"] = Field("open_clip", description="how regions get a meaning")
    model: str = Field("demo", description="demo, or an open_clip architecture such as ViT-L-14")
    checkpoint: Annotated[str | None, NO_LABEL] = Field(
        None, description="path of the weights, or an open_clip pretrained tag"
    )
    pretrained: Annotated[str | None, ADDED] = Field(
        None,
        description="open_clip tag of the weights in a file, or of those that they were fine-tuned from: it "
        "gives the pixels' mean and deviation; null: known from the file, or else required",
    )
    mode: Literal["auto", "crop", "maskclip", "naclip", "maskattn", "pool"] = Field(
        "auto",
        description="how regions get a feature, see docs/semantics.md; auto: what suits the model best",
    )
    assignment: Literal["mean", "rsa"] = Field(
        "mean", description="a region's class: that of its feature, or that of most of its pixels (RSA)"
    )
    short_side: int | None = Field(
        None, ge=32, le=4096, description="dense modes: shorter side of the image that is encoded, pixels"
    )
    overlap: float = Field(
        0.25, ge=0, le=0.75, description="dense modes: share by which neighbouring windows overlap"
    )
    crop_scale: float = Field(
        1.5, ge=1, le=100, description="side of the square crop over the region's longer side"
    )
    context: int = Field(
        0,
        ge=0,
        le=4096,
        description="pixels; narrower crops get a second crop of this side; 0: none",
    )
    background: float = Field(0.5, ge=0, le=1, description="share of the surroundings that stays visible")
    temperature: float | None = Field(
        None, gt=0, le=1000, description="temperature of the softmax; null takes the model's own"
    )
    batch_size: Annotated[int, NO_LABEL] = Field(
        256, ge=1, le=8192, description="crops or windows per forward pass"
    )
    feature_bits: Annotated[int, ADDED] = Field(
        10,
        ge=3,
        le=10,
        description="bits of each stored feature's mantissa; 6: cosines change by 1e-5, and 7 bits or "
        "fewer are "
        "stored compressed, 30 % smaller or more",
    )
    dense_features: Annotated[DenseFeatureSettings | None, ADDED] = Field(
        None, description="also store each image's features on a grid; null: regions' features only"
    )
