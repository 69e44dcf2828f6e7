"""What the pre-training methods share: heads, and a batch's pairs of points and regions."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from labelgen.core.errors import UserError
from labelgen.distill.batch import IGNORE, Batch
from labelgen.distill.losses import pool
from labelgen.distill.methods.base import CacheInfo

_M = TypeVar("_M")
_R = TypeVar("_R")


class UnitHead(nn.Module):
    """A linear layer whose rows have length 1.

    Args:
        width: of what comes in.
        out: of what goes out.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)

    def forward(self, features: Tensor) -> Tensor:
        """(P, width) to (P, out), L2-normalised."""
        return normalize(self.linear(features), dim=1)


def full_precision(losses: Callable[[_M, Batch, Tensor], _R]) -> Callable[[_M, Batch, Tensor], _R]:
    """Heads and losses in float32 at least, whatever the backbone computes in: tau divides by little."""

    @wraps(losses)
    def wrapped(self: _M, batch: Batch, features: Tensor) -> _R:
        half = features.dtype in (torch.float16, torch.bfloat16)
        with torch.autocast(features.device.type, enabled=False):
            return losses(self, batch, features.float() if half else features)

    return wrapped


def pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """Views that fall in a region: (P,) their points and (P,) their regions."""
    region = given(batch.view_region)
    inside = region >= 0
    return given(batch.view_point)[inside], region[inside]


def fuse_views(batch: Batch, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean image feature of each point over the views that fall in a region (OpenScene, Peng et al. 2023).

    Args:
        batch: with ``view_point``, ``view_region``, ``region_feature``.
        dtype: of the means.

    Returns:
        (N, D) means, zeros where there is no such view, and (N,) numbers of views.
    """
    point, region = pairs(batch)
    return pool(given(batch.region_feature)[region].to(dtype), point, len(batch))


def pool_regions(batch: Batch, features: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean point feature of each region that has points.

    Args:
        batch: with ``view_point``, ``view_region``, ``region_feature``.
        features: (N, D) of the points.
        known: (K,) bool, regions that may be chosen; all by default.

    Returns:
        (M, D) means, and (M,) numbers of their regions.
    """
    point, region = pairs(batch)
    means, count = pool(features[point], region, len(given(batch.region_feature)))
    chosen = count > 0 if known is None else (count > 0) & known
    rows = chosen.nonzero()[:, 0]
    return means[rows], rows


def sample(rows: int, most: int, device: torch.device) -> Tensor:
    """At most ``most`` different numbers below ``rows``, drawn from torch's default generator."""
    return torch.randperm(rows)[:most].to(device)


def has_class(batch: Batch) -> Tensor:
    """(K,) bool: regions that mean a class, not void."""
    return given(batch.region_label) != IGNORE


def given(value: Tensor | None) -> Tensor:
    """A field of the batch that the method asked for."""
    assert value is not None, "a field that the method needs is not in the batch"
    return value


def feature_width(info: CacheInfo, method: str) -> int:
    """D of the regions' features.

    Raises:
        UserError: the run stores none.
    """
    if info.feature_width is None:
        raise UserError(
            f"method {method} needs regions/feature, which the run does not store: it holds labels only; "
            "train on a run of `labelgen run`"
        )
    return info.feature_width


def class_text(info: CacheInfo, method: str) -> Tensor:
    """(C, D) float32 text features of the classes.

    Raises:
        UserError: the run stores none, or of another width than its regions' features.
    """
    text = info.text_embeddings
    if text is None:
        raise UserError(
            f"method {method} needs the attribute text_embeddings (text features of the classes), which the "
            "run's shards do not hold; train on a run of `labelgen run`"
        )
    width = feature_width(info, method)
    if text.shape != (info.classes, width):
        raise UserError(
            f"method {method}: text_embeddings is {text.shape}, but the run has {info.classes} classes and "
            f"regions/feature is {width} wide: they come from different models; label the run anew"
        )
    return torch.from_numpy(text.copy())


def class_words(info: CacheInfo, vocabulary: str, method: str) -> tuple[Tensor, Tensor]:
    """(W, D) L2-normalised texts and (W,) class of each, void words left out.

    Args:
        info: of the run.
        vocabulary: ``words``: all of the taxonomy, by the run's text encoder; ``classes``: the stored texts.
        method: for errors.

    Raises:
        UserError: the run has no texts or no features, its text encoder is unknown or not here, or texts and
            features are of two models.
    """
    width = feature_width(info, method)
    if vocabulary == "classes":
        return class_text(info, method), torch.arange(info.classes)
    if info.vocabulary is None:
        raise UserError(f"method {method} needs the text encoder of a run; or set vocabulary=classes")
    words = info.vocabulary()
    chosen = words.word_class < info.classes
    text, owner = words.word_feature[chosen], words.word_class[chosen]
    if text.shape[1] != width:
        raise UserError(
            f"method {method}: words are {text.shape[1]} wide and regions/feature {width}: they come "
            f"from different text encoders; label the run anew"
        )
    return torch.from_numpy(text.copy()), torch.from_numpy(owner.astype("int64"))
