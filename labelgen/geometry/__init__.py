"""Where points fall in images, what hides them, and masks as run lengths. numpy and numba only."""

from labelgen.geometry.ego import NUSCENES_EGO_BOX, ego_mask
from labelgen.geometry.hits import region_hits, view_region
from labelgen.geometry.projection import project_points
from labelgen.geometry.settings import ProjectionSettings
from labelgen.geometry.views import project

__all__ = [
    "NUSCENES_EGO_BOX",
    "ProjectionSettings",
    "ego_mask",
    "project",
    "project_points",
    "region_hits",
    "view_region",
]
