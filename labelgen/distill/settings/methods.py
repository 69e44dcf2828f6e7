"""What can be set of the training methods, one class per method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from labelgen.core.settings import Settings


class MethodSettings(Settings):
    """Base of a method's settings: what a YAML file of the method may set, with defaults."""


class SegmentationSettings(MethodSettings):
    """Head and losses."""

    head: Literal["linear", "text"] = Field(
        "linear", description="linear: batch norm and a layer (ScaLR); text: cosine with the classes' texts"
    )
    temperature: float = Field(0.07, gt=0, le=1000, description="text: temperature of the cosine")
    cross_entropy: float = Field(1.0, ge=0, le=10**6, description="weight of the loss")
    lovasz: float = Field(1.0, ge=0, le=10**6, description="weight of the loss")
    confidence: float = Field(
        1.0, ge=0, le=100, description="a label counts by its confidence to this power; 0: all alike"
    )


class SlidrSettings(MethodSettings):
    """SLidR's (Sautier et al. 2022, section 4)."""

    width: int = Field(64, ge=1, le=8192, description="width of the space in which points and images meet")
    temperature: float = Field(0.07, gt=0, le=1000, description="tau")


class PpktSettings(SlidrSettings):
    """PPKT's (Liu et al. 2021), as in SLidR's code."""

    pairs: int = Field(
        4096, ge=2, le=10**6, description="point-pixel pairs of a batch, drawn without replacement"
    )


class TolerantSettings(SlidrSettings):
    """ST-SLidR's (Mahmoud et al. 2023), as in its code."""

    quantile: float = Field(0.01, ge=0, le=1, description="share of the most similar negatives tolerated")
    balance: float | None = Field(
        0.5, ge=0, le=1, description="least similarity that counts as a vote; null: no balancing"
    )


class TmpSettings(MethodSettings):
    """The released configurations' values."""

    vocabulary: Literal["words", "classes"] = Field(
        "words", description="texts: every open word of the taxonomy, grouped by class; or one per class"
    )
    temperature: float = Field(0.07, gt=0, le=1000, description="tau, of both losses")
    own: float = Field(0.2, ge=0, le=1, description="share of a region's own word in its soft target")
    image_weight: float = Field(0.5, ge=0, le=10**6, description="alpha of region against region")
    text_weight: float = Field(0.5, ge=0, le=10**6, description="alpha of region against words")


class Vlm2SceneSettings(MethodSettings):
    """Components of VLM2Scene; the defaults are the full method."""

    contrast: Literal["point", "region", "filtered"] = Field(
        "filtered",
        description="contrast of points and pixels, of regions, or of regions with the filter (SFR)",
    )
    rsa: bool = Field(True, description="points learn the class of their region")
    rcp: bool = Field(True, description="regions' points are contrasted with texts")
    text: Literal["caption", "class", "both"] = Field(
        "both",
        description="a region's text, for the filter and for RCP: its caption, its class, or its class where "
        "it has no caption; regions without a text take no part in either",
    )
    temperature: float = Field(0.07, gt=0, le=1000, description="tau, of all three losses")
    epsilon: float = Field(0.05, ge=-2, le=2, description="least lead in cosine that the filter asks for")
    pairs: int = Field(4096, ge=2, le=10**6, description="point-pixel pairs, where contrast is point")
    contrast_weight: float = Field(1.0, ge=0, le=10**6, description="weight of the loss")
    rsa_weight: float = Field(1.0, ge=0, le=10**6, description="weight of the loss")
    rcp_weight: float = Field(1.0, ge=0, le=10**6, description="weight of the loss")
