"""Which regions each view's pixel falls in, looked up in the run lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.core.records import NO_REGION, RegionHits, Regions, Views
from labelgen.geometry.fractions import whole_reach
from labelgen.geometry.rle import Runs, measure, parse

#: Most pairs of a view and a region in a frame: a hundred regions over each of 600,000 points.
MOST_HITS = 1 << 26


def region_hits(views: Views, regions: Regions, cameras: Sequence[Camera], reach: float = 0.0) -> RegionHits:
    """Regions under each view, in its own camera, smallest first.

    A view's pixel is the nearest one, (floor(u + 1/2), floor(v + 1/2)). No mask is
    decoded. Regions of equal area keep their order.

    How much of a region there is around a pixel, 1 well inside and towards 0 at an edge, is the mean of three
    looks: along the column to the nearer end of the pixel's run, as a share of ``reach``; and whether the
    pixels ``reach`` to the left and to the right are in the region. The image's border is no edge.

    Args:
        views: of the frame.
        regions: of the frame, with their run lengths at the cameras' image sizes.
        cameras: of the frame.
        reach: pixels around which ``inside`` looks, at least 1; 0 to leave it out.

    Raises:
        ValueError: if a run-length code is damaged, a row names a camera that is not there, or there are more
            than `MOST_HITS` pairs.
    """
    for rows in (views.camera, regions.camera):
        if len(rows) and rows[-1] >= len(cameras):
            raise ValueError(f"camera {rows[-1]} is out of range: the frame has {len(cameras)} cameras")
    pairs, look, room = [], whole_reach(reach), MOST_HITS
    for c, camera in enumerate(cameras):
        seen, drawn = views.camera_slice(c), regions.camera_slice(c)
        if seen.start == seen.stop or drawn.start == drawn.stop:
            continue
        try:
            runs = parse(regions.rle[drawn], camera.height, camera.width)
        except ValueError as error:
            raise ValueError(f"camera {camera.name}: {error}") from None
        area, box = measure(runs, camera.height)
        by_area = np.argsort(area, kind="stable")
        size = (camera.height, camera.width)
        view, region, around = _match(views.uv[seen], runs, box, by_area, *size, look, room)
        room -= len(view)
        if room < 0:
            raise ValueError(
                f"camera {camera.name}: {drawn.stop - drawn.start} regions overlap so heavily that "
                f"{seen.stop - seen.start} points fall in more than {MOST_HITS} of them"
            )
        pairs.append((view + np.int32(seen.start), region + np.int32(drawn.start), around))
    view = np.concatenate([np.zeros(0, np.int32), *(part[0] for part in pairs)])
    region = np.concatenate([np.zeros(0, np.int32), *(part[1] for part in pairs)])
    around = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in pairs)])
    offsets, region, around = _group(view, region, around, len(views))
    return RegionHits(offsets, region, around if look else None, look)


def view_region(hits: RegionHits) -> NDArray[np.uint16]:
    """(V,) the smallest region that each view falls in; 65535 for none."""
    begins = hits.offsets[:-1]
    out = np.full(len(begins), NO_REGION, np.uint16)
    some = begins < hits.offsets[1:]
    out[some] = hits.region[begins[some]]
    return out


@numba.njit(cache=True)
def _match(
    uv: NDArray[np.float32],
    runs: Runs,
    box: NDArray[np.int32],
    order: NDArray[np.int64],
    height: int,
    width: int,
    reach: int,
    most: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Pairs of view and region, the regions in the given order, and what is around each.

    Views are sorted by pixel, down the columns. Of a region either the views under its box look for their run
    by bisection, or, where they are far more than its runs, the runs for their views: what is looked at grows
    with runs and pairs, however many regions stretch over the image. Cut short after ``most`` pairs.
    """
    V = len(uv)
    first, owner, pixel, row = _by_pixel(uv, height, width)
    near = np.empty(V + 1, np.int32)
    view = np.empty(2 * V + 1, np.int32)
    region = np.empty(2 * V + 1, np.int32)
    around = np.zeros(2 * V + 1 if reach else 0, np.float32)
    spot = np.empty((V + 1, 2), np.int32)  # of the present region's hits: its place, and its run
    found = 0
    for k in order:
        if found > most:
            break
        if found + V >= len(view):  # a region hits each view once at most
            view = np.concatenate((view, np.empty_like(view)))
            region = np.concatenate((region, np.empty_like(region)))
            around = np.concatenate((around, np.zeros_like(around)))
        left, top, right, bottom = box[k]
        begin, end = runs.offsets[k], runs.offsets[k + 1]
        before = found
        if 4 * (end - begin) < first[right] - first[left]:
            for at in range(begin + 1, end, 2):
                low = np.searchsorted(pixel, runs.ends[at - 1])
                while low < len(pixel) and pixel[low] < runs.ends[at]:
                    view[found], region[found] = owner[low], k
                    spot[found - before, 0], spot[found - before, 1] = low, at
                    found, low = found + 1, low + 1
        else:
            boxed = 0  # no branches from here on: which pixels are in a region cannot be foreseen
            for j in range(first[left], first[right]):
                near[boxed] = j
                boxed += (top <= row[j]) & (row[j] < bottom)
            for j in near[:boxed]:
                at, size = begin, end - begin
                while size > 1:
                    half = size >> 1
                    at += half * (runs.ends[at + half - 1] <= pixel[j])
                    size -= half
                at += runs.ends[at] <= pixel[j]
                view[found] = owner[j]
                region[found] = k
                spot[found - before, 0], spot[found - before, 1] = j, at
                found += (at - begin) & 1
        if reach:
            for h in range(before, found):
                j, at = spot[h - before]
                around[h] = _around(runs.ends, begin, at, end, pixel[j], row[j], height, width, reach)
    return view[:found], region[:found], around[:found]


@numba.njit(cache=True)
def _by_pixel(
    uv: NDArray[np.float32], height: int, width: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Views that are in the image, down its columns: where each column begins, and of each its row of ``uv``,
    its pixel and the pixel's row. Two counting sorts, first by row.
    """
    V = len(uv)
    column, line = np.empty(V, np.int32), np.empty(V, np.int32)
    above, first = np.zeros(height + 1, np.int32), np.zeros(width + 1, np.int32)
    for i in range(V):
        x, y = np.floor(uv[i, 0] + 0.5), np.floor(uv[i, 1] + 0.5)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        column[i], line[i] = x if inside else -1, y if inside else 0
        if inside:
            above[line[i] + 1] += 1
            first[column[i] + 1] += 1
    above, first = np.cumsum(above).astype(np.int32), np.cumsum(first).astype(np.int32)
    inside = first[width]
    by_row = np.empty(inside, np.int32)
    for i in range(V):
        if column[i] >= 0:
            by_row[above[line[i]]] = i
            above[line[i]] += 1
    owner, pixel, row = np.empty(inside, np.int32), np.empty(inside, np.int32), np.empty(inside, np.int32)
    place = first.copy()
    for i in by_row:
        j = place[column[i]]
        place[column[i]] += 1
        owner[j], row[j], pixel[j] = i, line[i], column[i] * height + line[i]
    return first, owner, pixel, row


@numba.njit(cache=True)
def _around(
    ends: NDArray[np.int32],
    begin: int,
    at: int,
    end: int,
    pixel: int,
    y: int,
    height: int,
    width: int,
    reach: int,
) -> float:
    """How much of a region, runs begin to end, is around a pixel in its run ``at``; see `region_hits`."""
    up, down = pixel - ends[at - 1] + 1, ends[at] - pixel
    nearest = reach
    if up <= y:  # otherwise the run begins at the image's border
        nearest = min(nearest, up)
    if down < height - y:
        nearest = min(nearest, down)
    x = pixel // height
    left = x < reach or (_run(ends, begin, at + 1, pixel - reach * height) - begin) & 1
    right = x + reach >= width or (_run(ends, at, end, pixel + reach * height) - begin) & 1
    return (nearest / reach + left + right) / 3


@numba.njit(cache=True)
def _run(ends: NDArray[np.int32], begin: int, end: int, pixel: int) -> int:
    """The run among begin to end that a pixel lies in, by bisection: the first that ends beyond it."""
    at, size = begin, end - begin
    while size > 1:
        half = size >> 1
        at += half * (ends[at + half - 1] <= pixel)
        size -= half
    return at + (ends[at] <= pixel)


@numba.njit(cache=True)
def _group(
    view: NDArray[np.int32], region: NDArray[np.int32], around: NDArray[np.float32], V: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Sort pairs by view, keeping the order within each: a counting sort."""
    offsets = np.zeros(V + 1, np.int64)
    for v in view:
        offsets[v + 1] += 1
    for v in range(V):
        offsets[v + 1] += offsets[v]
    place = offsets[:-1].copy()
    out = np.empty(len(view), np.int32)
    share = np.empty(len(around), np.float32)
    for i in range(len(view)):
        out[place[view[i]]] = region[i]
        if len(around):
            share[place[view[i]]] = around[i]
        place[view[i]] += 1
    return offsets, out, share
