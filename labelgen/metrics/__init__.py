"""How good labels are, measured against truth."""

from labelgen.metrics.confidence import ConfidenceScore
from labelgen.metrics.evaluate import Details, evaluate_run
from labelgen.metrics.panoptic import PanopticScore
from labelgen.metrics.segmentation import PROTOCOLS, SegmentationScore

__all__ = [
    "PROTOCOLS",
    "ConfidenceScore",
    "Details",
    "PanopticScore",
    "SegmentationScore",
    "evaluate_run",
]
