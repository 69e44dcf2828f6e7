"""Region proposals: which pixels of an image belong together."""

from labelgen.regions.base import ImageRegions, RegionProposer, describe_proposer, make_proposer
from labelgen.regions.frame import join_cameras

__all__ = ["ImageRegions", "RegionProposer", "describe_proposer", "join_cameras", "make_proposer"]
