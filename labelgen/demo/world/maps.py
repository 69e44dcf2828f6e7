"""The map picture of a scene: driveable ground in white, as nuScenes' semantic prior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.demo.world.city import City
from labelgen.demo.world.surface import Surface, surfaces

#: nuscenes-devkit reads 10 pixels a metre, the origin at the lower left; half a metre is worked out.
PIXELS_PER_METRE = 10
_CELLS_PER_METRE = 2


def draw_map(city: City, origin: NDArray[np.float64], reach: float = 300.0) -> Image.Image:
    """8-bit picture from (0, 0) of the global frame to ``reach`` metres beyond the scene's origin (2,)."""
    width, height = (int(np.ceil(o + reach)) for o in origin)
    cells = [(np.arange(n * _CELLS_PER_METRE) + 0.5) / _CELLS_PER_METRE for n in (width, height)]
    x, y = np.meshgrid(cells[0] - origin[0], cells[1] - origin[1])
    kinds = surfaces(city.ground, x.ravel(), y.ravel())[0].reshape(x.shape)
    drive = np.isin(kinds, [Surface.ROAD, Surface.PARKING, Surface.DRIVEWAY])
    picture = Image.fromarray(np.where(drive, 255, 0).astype(np.uint8)[::-1].copy())
    return picture.resize((width * PIXELS_PER_METRE, height * PIXELS_PER_METRE), Image.Resampling.NEAREST)
