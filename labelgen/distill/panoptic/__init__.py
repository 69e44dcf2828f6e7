"""Open-vocabulary panoptic segmentation of point clouds, trained on base classes."""

from labelgen.distill.methods.answer import Segments
from labelgen.distill.panoptic.method import Panoptic
from labelgen.distill.settings.panoptic import PanopticSettings

__all__ = ["Panoptic", "PanopticSettings", "Segments"]
