"""Losses of the pre-training methods on plain tensors, one file per family."""

from labelgen.distill.losses.concordance import (
    caption_contrast,
    class_assignment,
    filtered_contrast,
    majority_class,
)
from labelgen.distill.losses.contrast import info_nce
from labelgen.distill.losses.pooling import pool
from labelgen.distill.losses.regression import cosine_distance, unit_distance
from labelgen.distill.losses.tolerant import balance_weights, tolerant_contrast
from labelgen.distill.losses.trimodal import soft_targets, text_contrast

__all__ = [
    "balance_weights",
    "caption_contrast",
    "class_assignment",
    "cosine_distance",
    "filtered_contrast",
    "info_nce",
    "majority_class",
    "pool",
    "soft_targets",
    "text_contrast",
    "tolerant_contrast",
    "unit_distance",
]
