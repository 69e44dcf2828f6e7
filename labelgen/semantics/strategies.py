"""A region's class from its image, from its caption, or from both (region caption prompts)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.core.records import UNLABELLED, Regions, Semantics, Views
from labelgen.geometry import region_hits
from labelgen.semantics.prompts import Vocabulary, normalise

Strategy = Literal["template", "caption", "both"]
#: The captions' temperature over the images', by default: softer where it stands beside the image's scores.
_WARMER: dict[Strategy, float] = {"template": 6.0, "caption": 6.0, "both": 20.0}
#: Probability of what a text excludes.
_LEAST = 1e-6


def caption_temperature(asked: float | None, strategy: Strategy, images: float) -> float:
    """Of the softmax over a caption's classes: what is asked for, or what suits the strategy.

    Args:
        asked: by the configuration, if anything.
        strategy: what counts.
        images: temperature of the softmax over an image's classes.
    """
    return asked or _WARMER[strategy] * images


def choose_regions(
    regions: Regions, views: Views, cameras: tuple[Camera, ...], per_image: int
) -> NDArray[np.int64]:
    """The regions of a frame that are worth a caption: in each image those of largest area x points.

    Points are the visible ones under the mask. Regions without any are left out: their caption would label
    nothing. Of equal products, the earlier region.

    Args:
        regions: of the frame, K of them.
        views: of the frame.
        cameras: of the frame.
        per_image: so many at most.

    Returns:
        Rows of ``regions``, ascending.
    """
    hits = region_hits(views, regions, cameras)
    seen = np.repeat(views.visible, np.diff(hits.offsets))
    points = np.bincount(hits.region[seen], minlength=len(regions))
    weight = regions.area.astype(np.float64) * points
    chosen = [np.zeros(0, np.int64)]
    for number in range(len(cameras)):
        rows = np.arange(len(regions))[regions.camera_slice(number)]
        best = rows[np.argsort(-weight[rows], kind="stable")[:per_image]]
        chosen.append(np.sort(best[weight[best] > 0]))
    return np.concatenate(chosen)


def combine(
    semantics: Semantics,
    feature: NDArray[np.float16],
    vocabulary: Vocabulary,
    strategy: Strategy,
    temperature: float,
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Class scores of regions from their images' scores and their captions' features.

    - ``template``: the image against the templates filled with the classes' words, as without captions: p.
    - ``caption``: the caption's text feature against the same words: q, by the softmax of a temperature of
      its own, as cosines between texts spread wider than those between images and texts.
    - ``both``: p q, scaled to sum to 1 with void: the sum of both logits. A caption that says little leaves p
      as it is.

    A region without a caption has the first. VLM2Scene (AAAI 2024, section "Region Caption Prompts") uses the
    two texts side by side, as targets of its 3D features; for labels, this is the same with one vote each.

    Args:
        semantics: K rows, from the images alone.
        feature: (K, D) float16; rows of 0 have no caption.
        vocabulary: text features of the classes' words.
        strategy: what counts.
        temperature: of the softmax over a caption's classes.

    Returns:
        (K, C) float16 probabilities and (K,) uint8 labels, 255 where void wins.
    """
    rows = np.flatnonzero(feature.any(axis=1)) if strategy != "template" else np.zeros(0, np.int64)
    scores, label = semantics.class_scores.copy(), semantics.label.copy()
    if len(rows):
        said, said_label = vocabulary.score(feature[rows], temperature)
        if strategy == "caption":
            scores[rows], label[rows] = said, said_label
        else:
            mixed = _with_void(scores[rows]) * _with_void(said)
            mixed /= mixed.sum(axis=1, keepdims=True)
            scores[rows] = mixed[:, :-1].astype(np.float16)
            best = mixed.argmax(axis=1)
            label[rows] = np.where(best == vocabulary.classes, UNLABELLED, best)
    return scores, label


def _with_void(scores: NDArray[np.float16]) -> NDArray[np.float64]:
    """(K, C + 1) probabilities that sum to 1, void last; none is 0, so that no text has the last word."""
    exact = scores.astype(np.float64)
    void = np.maximum(1.0 - exact.sum(axis=1, keepdims=True), 0.0)
    whole: NDArray[np.float64] = np.concatenate([exact, void], axis=1) + _LEAST
    return whole


def text_feature(
    semantics: Semantics, class_embedding: NDArray[np.float32], strategy: Strategy
) -> NDArray[np.float16]:
    """(K, D) the text that stands for each region: its class's templates, its caption, or their mean.

    The target of text-point losses (VLM2Scene's positive pairs). The templates' part is the mean of the
    classes' embeddings weighed by the region's scores. 0 where there is nothing: all void, and no caption.

    Args:
        semantics: K rows.
        class_embedding: (C, D) float32, L2-normalised.
        strategy: what counts; a region without a caption has its templates.
    """
    template = normalise(semantics.class_scores.astype(np.float32) @ class_embedding)
    if semantics.caption_feature is None or strategy == "template":
        return template.astype(np.float16)
    caption = semantics.caption_feature.astype(np.float32)
    there = caption.any(axis=1, keepdims=True)
    mixed = caption if strategy == "caption" else template + caption
    return normalise(np.where(there, mixed, template)).astype(np.float16)
