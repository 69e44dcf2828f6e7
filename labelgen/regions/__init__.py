"""Region proposals: which pixels of an image belong together."""

from typing import TYPE_CHECKING

from labelgen.core.lazy import loads

if TYPE_CHECKING:
    from labelgen.regions.base import ImageRegions, Prompts, RegionProposer, regions_of_labels
    from labelgen.regions.frame import frame_prompts, join_cameras
    from labelgen.regions.registry import describe_proposer, make_proposer

__all__ = [
    "ImageRegions",
    "Prompts",
    "RegionProposer",
    "describe_proposer",
    "frame_prompts",
    "join_cameras",
    "make_proposer",
    "regions_of_labels",
]

__getattr__ = loads(
    __name__,
    {
        "ImageRegions": "labelgen.regions.base",
        "Prompts": "labelgen.regions.base",
        "RegionProposer": "labelgen.regions.base",
        "describe_proposer": "labelgen.regions.registry",
        "frame_prompts": "labelgen.regions.frame",
        "join_cameras": "labelgen.regions.frame",
        "make_proposer": "labelgen.regions.registry",
        "regions_of_labels": "labelgen.regions.base",
    },
)
