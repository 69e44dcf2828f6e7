"""Open-vocabulary panoptic segmentation of point clouds, trained on base classes."""

from labelgen.distill.panoptic.method import Panoptic
from labelgen.distill.panoptic.segments import Segments
from labelgen.distill.settings.panoptic import PanopticSettings

__all__ = ["Panoptic", "PanopticSettings", "Segments"]
