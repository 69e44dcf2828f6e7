"""The simulated city: seeded streets with sensors, written as a nuScenes dataroot with exact truth."""

from __future__ import annotations

from labelgen.datasets.nuscenes_categories import CATEGORIES
from labelgen.demo.seeds import DEFAULT_SEED, TEST_SEEDS, TRAIN_SEEDS, VAL_SEEDS, split_of
from labelgen.demo.world.categories import CLASS_OF_CATEGORY, CLASSES, SKY
from labelgen.demo.world.city import City, Item
from labelgen.demo.world.describe import Description, describe
from labelgen.demo.world.export import Summary, build
from labelgen.demo.world.render import View, render_view
from labelgen.demo.world.rig import CAMERA_NAMES
from labelgen.demo.world.sampling import sample_views

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
