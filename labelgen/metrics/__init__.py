"""How good labels are, measured against truth."""

from labelgen.metrics.evaluate import evaluate_run
from labelgen.metrics.segmentation import SegmentationScore

__all__ = ["SegmentationScore", "evaluate_run"]
