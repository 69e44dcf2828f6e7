"""What can be set of the panoptic method, with P3Former's values where its code has them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from labelgen.distill.settings.methods import MethodSettings

Weight = Field(1.0, ge=0, le=10**6, description="its weight")
_Extent = Annotated[float, Field(gt=0, le=10_000)]


class DecoderSettings(MethodSettings):
    """Size of the query decoder."""

    width: int = Field(256, ge=8, le=2048, description="width of queries and of what they attend to")
    layers: int = Field(6, ge=1, le=64, description="layers of the decoder")
    queries: int = Field(
        128, ge=1, le=16_384, description="number of learned queries, for things and novel classes"
    )
    seeds: int = Field(
        0,
        ge=0,
        le=16_384,
        description="queries that start from points that look like things; 0: all as in P3Former",
    )
    reach: float = Field(
        0.0,
        ge=0,
        le=10_000,
        description="metres from its seed at which such a query's mask starts to fade; 0: it does not",
    )
    shortcut: bool = Field(
        False, description="class embeddings start from the mean image feature in the mask; with fusion only"
    )
    heads: int = Field(8, ge=1, le=256, description="heads of the attention between queries")
    hidden: int = Field(2048, ge=1, le=8192, description="width inside the feed-forward part")
    frequencies: int = Field(
        6,
        ge=0,
        le=32,
        description="sines and cosines of the positions, each twice the last; 0: none, as in P3Former",
    )
    span: tuple[_Extent, _Extent, _Extent] = Field(
        (50.0, 50.0, 5.0), description="half the extent that positions are divided by, metres"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.seeds > self.queries:
            raise ValueError("seeds are at most queries")
        return self


class FocalSettings(MethodSettings):
    """Of the focal losses and costs."""

    alpha: float = Field(0.25, gt=0, lt=1, description="weight of what is there against what is not")
    class_gamma: float = Field(4.0, ge=0, le=100, description="exponent, of classes")
    mask_gamma: float = Field(2.0, ge=0, le=100, description="exponent, of masks")


class CostSettings(MethodSettings):
    """Weights in the matching of queries with objects."""

    classes: float = Weight
    mask: float = Weight
    dice: float = Field(2.0, ge=0, le=10**6, description="its weight")


class LossSettings(MethodSettings):
    """Weights of the losses; 0 leaves one out."""

    classes: float = Weight
    mask: float = Weight
    dice: float = Field(2.0, ge=0, le=10**6, description="its weight")
    position: float = Field(0.4, ge=0, le=10**6, description="dice of the masks from positions alone")
    apart: float = Field(
        0.0,
        ge=0,
        le=10**6,
        description="what queries without an object hold of labelled points; 0: as in P3Former",
    )
    semantic: float = Field(
        1.0, ge=0, le=10**6, description="cross entropy and Lovász of the points' own classes"
    )
    object: float = Field(
        0.5, ge=0, le=10**6, description="L_O: class embeddings at what the cameras say of the masks"
    )
    voxel: float = Field(
        0.5, ge=0, le=10**6, description="L_V: image features rebuilt from masks and embeddings"
    )


class InferenceSettings(MethodSettings):
    """From scores and masks to segments."""

    learned_weight: float = Field(
        2.0, gt=0, le=1000, description="weight of the scores of learned queries over stuff's"
    )
    keep: float = Field(0.4, ge=0, le=1, description="queries of lower scores give no segment")
    overlap: float = Field(
        0.8, ge=0, le=1, description="segments whose share of their mask is lower are dropped; 0: none"
    )
    looks: int = Field(
        0,
        ge=0,
        le=1024,
        description="groups of like image features; those of novel stuff are segments; with fusion only",
    )


class EnsembleSettings(MethodSettings):
    """FC-CLIP's, of ``head: ensemble``."""

    base: float = Field(0.4, ge=0, le=1, description="exponent of the pooled image feature's classifier")
    novel: float = Field(0.8, ge=0, le=1, description="the same for novel classes")
    temperature: float = Field(0.02, gt=0, le=1000, description="temperature of the softmax over cosines")


class PanopticSettings(MethodSettings):
    """Open-vocabulary panoptic segmentation; see docs/panoptic.md."""

    classes: str = Field("all", description="name of the split into base and novel classes")
    novel: tuple[str, ...] = Field((), description="its novel classes, whose labels are never learned from")
    labels: Literal["truth", "pseudo"] = Field("truth", description="pseudo: the run's classes and instances")
    unlabelled: Literal["ignored", "other"] = Field(
        "ignored",
        description="other: what has no true label is in no segment of base stuff",
    )
    vocabulary: Literal["words", "classes"] = Field(
        "words", description="texts: every word of the taxonomy, the best counts; or one per class"
    )
    fusion: bool = Field(True, description="points carry image features into the decoder")
    head: Literal["unified", "ensemble"] = Field(
        "unified", description="how segments get classes: class embedding alone, or FC-CLIP's two classifiers"
    )
    temperature: float = Field(
        0.04, gt=0, le=1000, description="temperature of the class head's cosines, at first"
    )
    min_points: int = Field(5, ge=1, le=10**6, description="smaller objects are ignored")
    decoder: DecoderSettings = DecoderSettings()
    focal: FocalSettings = FocalSettings()
    cost: CostSettings = CostSettings()
    loss: LossSettings = LossSettings()
    inference: InferenceSettings = InferenceSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
