"""Single pictures from many cities, to train and test small models on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from labelgen.demo.world import rig
from labelgen.demo.world.city import City
from labelgen.demo.world.render import View, check_image_size, render_view

VIEWS_PER_CITY = 12
#: Moments are drawn from the first minutes of a scene.
LONGEST_S = 120.0


def sample_views(
    seed_range: Sequence[int], count: int, image_size: tuple[int, int], rng_seed: int
) -> Iterator[tuple[City, View]]:
    """Pictures at random moments from random cameras of random cities; no LiDAR.

    Args:
        seed_range: seeds to draw cities from, e.g. `labelgen.demo.seeds.TRAIN_SEEDS`.
        count: number of pictures.
        image_size: (width, height) in pixels.
        rng_seed: the same numbers give the same pictures.

    Yields:
        (city, view); several views in a row come from one city.

    Raises:
        UserError: impossible image size.
    """
    image_size = check_image_size(image_size)
    rng = np.random.default_rng(np.random.SeedSequence([rng_seed, 2]))
    city = None
    for number in range(count):
        if city is None or number % VIEWS_PER_CITY == 0:
            city = City(seed_range[int(rng.integers(len(seed_range)))])
        name = rig.CAMERA_NAMES[int(rng.integers(len(rig.CAMERA_NAMES)))]
        yield city, render_view(city, float(rng.uniform(0.0, LONGEST_S)), name, image_size)
