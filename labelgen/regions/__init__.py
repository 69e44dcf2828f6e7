"""Region proposals: which pixels of an image belong together."""

from labelgen.regions.base import ImageRegions, Prompts, RegionProposer
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
]
