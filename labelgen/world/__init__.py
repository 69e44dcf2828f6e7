"""The simulated city: seeded streets with sensors, written as a nuScenes dataroot with exact truth."""

from __future__ import annotations

from labelgen.world.categories import CATEGORIES, CLASS_OF_CATEGORY, CLASSES, SKY
from labelgen.world.city import City, Item
from labelgen.world.describe import Description, describe
from labelgen.world.export import Summary, build
from labelgen.world.render import View, render_view
from labelgen.world.rig import CAMERA_NAMES
from labelgen.world.sampling import sample_views
from labelgen.world.seeds import DEFAULT_SEED, TEST_SEEDS, TRAIN_SEEDS, VAL_SEEDS, split_of

__all__ = [
    "CAMERA_NAMES",
    "CATEGORIES",
    "CLASSES",
    "CLASS_OF_CATEGORY",
    "DEFAULT_SEED",
    "SKY",
    "TEST_SEEDS",
    "TRAIN_SEEDS",
    "VAL_SEEDS",
    "City",
    "Description",
    "Item",
    "Summary",
    "View",
    "build",
    "describe",
    "render_view",
    "sample_views",
    "split_of",
]
