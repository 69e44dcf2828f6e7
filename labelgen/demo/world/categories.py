"""The 32 general categories of nuScenes-lidarseg and the 16 classes that the challenge makes of them."""

from __future__ import annotations

import numpy as np

from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets.nuscenes_categories import INDEX

FIRST_STUFF = INDEX["flat.driveable_surface"]
MANMADE, VEGETATION, EGO = INDEX["static.manmade"], INDEX["static.vegetation"], INDEX["vehicle.ego"]

#: Value of the per-pixel category maps where nothing is hit.
SKY = 255

_TAXONOMY = load_taxonomy("nuscenes16")
#: The challenge's 16 classes, 1..16; 0 is ignored.
CLASSES: tuple[str, ...] = ("ignore", *_TAXONOMY.names)
#: (256,) uint8: challenge class of a general category; 0 for ignored ones and for the sky.
CLASS_OF_CATEGORY = np.zeros(256, np.uint8)
for _spec in _TAXONOMY.classes:
    for _name in _spec.source:
        CLASS_OF_CATEGORY[INDEX[_name]] = _spec.id + 1
