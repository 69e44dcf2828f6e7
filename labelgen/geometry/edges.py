"""How far inside a mask a view's pixel lies, looked up in the run lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.frame import Camera
from labelgen.geometry.rle import Runs, parse
from labelgen.records import RegionHits, Regions, Views


def edge_share(
    views: Views, hits: RegionHits, regions: Regions, cameras: Sequence[Camera], reach: float
) -> NDArray[np.float32]:
    """How much of the mask there is around each hit's pixel: 1 well inside, towards 0 at an edge.

    The mean of three looks: along the column to the nearer end of the pixel's own run, as a share of
    ``reach``; and whether the pixels ``reach`` to the left and to the right are in the mask. The image's
    border is no edge.

    Args:
        views: of the frame.
        hits: as `labelgen.geometry.region_hits` gives them.
        regions: of the frame.
        cameras: of the frame.
        reach: pixels, at least 1.

    Returns:
        (H,) float32 in 0..1; 0 where the pixel is not in the mask.

    Raises:
        ValueError: if a run-length code is damaged.
    """
    out = np.zeros(len(hits.region), np.float32)
    for c, camera in enumerate(cameras):
        seen, drawn = views.camera_slice(c), regions.camera_slice(c)
        if seen.start == seen.stop or drawn.start == drawn.stop:
            continue
        runs = parse(regions.rle[drawn], camera.height, camera.width)
        _share(
            views.uv[seen],
            hits.offsets[seen.start : seen.stop + 1],
            hits.region,
            drawn.start,
            runs,
            (camera.height, camera.width),
            max(1, round(reach)),
            out,
        )
    return out


@numba.njit(cache=True)
def _share(
    uv: NDArray[np.float32],
    offsets: NDArray[np.int64],
    region: NDArray[np.int32],
    first: int,
    runs: Runs,
    size: tuple[int, int],
    reach: int,
    out: NDArray[np.float32],
) -> None:
    height, width = size
    for v in range(len(uv)):
        x, y = int(np.floor(uv[v, 0] + 0.5)), int(np.floor(uv[v, 1] + 0.5))
        pixel = x * height + y
        for h in range(offsets[v], offsets[v + 1]):
            k = region[h] - first
            begin, end = runs.offsets[k], runs.offsets[k + 1]
            at = _run(runs.ends, begin, end, pixel)
            if (at - begin) & 1 == 0:
                continue
            start, stop = runs.ends[at - 1], runs.ends[at]
            up = reach if start <= pixel - y else min(reach, pixel - start + 1)
            down = reach if stop >= pixel - y + height else min(reach, stop - pixel)
            inside = 0
            for side in (x - reach, x + reach):
                other = pixel + (side - x) * height
                if side < 0 or side >= width or (_run(runs.ends, begin, end, other) - begin) & 1:
                    inside += 1
            out[h] = (min(up, down) / reach + inside) / 3


@numba.njit(cache=True)
def _run(ends: NDArray[np.int32], begin: int, end: int, pixel: int) -> int:
    """The run that a pixel lies in, by bisection: the first one that ends beyond it."""
    at, size = begin, end - begin
    while size > 1:
        half = size >> 1
        at += half * (ends[at + half - 1] <= pixel)
        size -= half
    return at + (ends[at] <= pixel)
