"""Where points fall in images, what hides them, and masks as run lengths. numpy and numba only."""

from typing import TYPE_CHECKING

from labelgen.core.lazy import loads

if TYPE_CHECKING:
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

__getattr__ = loads(
    __name__,
    {
        "NUSCENES_EGO_BOX": "labelgen.geometry.ego",
        "ProjectionSettings": "labelgen.geometry.settings",
        "ego_mask": "labelgen.geometry.ego",
        "project": "labelgen.geometry.views",
        "project_points": "labelgen.geometry.projection",
        "region_hits": "labelgen.geometry.hits",
        "view_region": "labelgen.geometry.hits",
    },
)
