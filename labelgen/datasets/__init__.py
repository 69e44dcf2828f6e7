"""Data sets: readers that give frames, the files that they name, and what does not make sense about them."""

from typing import TYPE_CHECKING

from labelgen.core.lazy import loads

if TYPE_CHECKING:
    from labelgen.datasets.images import load_image
    from labelgen.datasets.info import DatasetInfo
    from labelgen.datasets.loading import load_cloud, load_panoptic, load_truth
    from labelgen.datasets.manifest import read_frames, write_frames
    from labelgen.datasets.registry import DATASETS, plan_frames

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "load_cloud",
    "load_image",
    "load_panoptic",
    "load_truth",
    "plan_frames",
    "read_frames",
    "write_frames",
]

__getattr__ = loads(
    __name__,
    {
        "DATASETS": "labelgen.datasets.registry",
        "DatasetInfo": "labelgen.datasets.info",
        "load_cloud": "labelgen.datasets.loading",
        "load_image": "labelgen.datasets.images",
        "load_panoptic": "labelgen.datasets.loading",
        "load_truth": "labelgen.datasets.loading",
        "plan_frames": "labelgen.datasets.registry",
        "read_frames": "labelgen.datasets.manifest",
        "write_frames": "labelgen.datasets.manifest",
    },
)
