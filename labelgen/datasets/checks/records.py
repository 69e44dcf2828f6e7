"""Are the records of a LiDAR file laid out as the plan says, and in metres?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import parse_layout
from labelgen.datasets.checks.inputs import FrameInput
from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.layouts import column_major, degenerate, guess, rhythm

#: Share of points with a coordinate that nothing measures, from which a layout is wrong.
MOST_ABSURD = 0.08
#: Metres beyond which neither half of a LiDAR's points nor all but a few can lie.
FARTHEST_HALF, FARTHEST_MOST = 150.0, 600.0
#: Metres within which a LiDAR has some points.
FARTHEST_NEAREST = 60.0
#: Rows that are looked at, at most.
_ROWS = 4000


@check("cloud-layout", "frame", refuse=True)
def layout(data: FrameInput) -> Iterator[Odd]:
    """The points make no sense in the layout that the plan gives: type, number of columns, order of bytes."""
    if data.cloud_data and (problem := misfit(data)):
        hint = guess(data.cloud_data, data.frame.lidar_layout)
        yield Odd(
            f"{data.frame.lidar_path} is not of layout {data.frame.lidar_layout}: {problem}",
            hint or "name the columns and types of its records (lidar_layout, docs/frames-parquet.md)",
        )


@check("cloud-units", "frame", refuse=True)
def units(data: FrameInput) -> Iterator[Odd]:
    """Coordinates are not metres from the LiDAR: millimetres, a map's coordinates, ranges and angles."""
    xyz = data.there
    path = data.frame.lidar_path
    if len(xyz) < 20:
        return
    if _of_map(xyz):
        at = ", ".join(f"{value:,.0f}" for value in np.median(xyz, axis=0))
        yield Odd(
            f"{path}: the points lie about ({at})",
            "these look like map coordinates; points must be in the LiDAR's frame, and its pose in "
            "global_from_lidar",
        )
        return
    if _is_polar(xyz):
        yield Odd(
            f"{path}: x is never negative, y lies between {xyz[:, 1].min():.3g} and {xyz[:, 1].max():.3g}, z "
            f"within {np.abs(xyz[:, 2]).max():.2g}",
            "are these range, azimuth and elevation? Points are x, y and z in metres",
        )
        return
    near, half, far = np.percentile(np.sqrt((xyz**2).sum(axis=1)), (1, 50, 99))
    tiny = far < 1 and half < 0.3  # something right before a LiDAR is a little farther away
    if (half <= FARTHEST_HALF and far <= FARTHEST_MOST and near <= FARTHEST_NEAREST and not tiny) or (
        absurd(data) > MOST_ABSURD
    ):
        return
    if tiny:
        text, hint = (
            f"all points lie within {far:.2g} m of the LiDAR",
            "are these kilometres, or scaled to 1?",
        )
    elif half <= FARTHEST_HALF and far <= FARTHEST_MOST:
        text = f"the nearest points lie {near:,.0f} m from the LiDAR"
        hint = "are these coordinates of a map, or of another sensor?"
    else:
        text = f"half of the points lie more than {half:,.6g} m away, the farthest {far:,.6g} m"
        below = abs(float(np.percentile(xyz[:, 2], 2)))  # the ground is half a metre or more below a LiDAR
        unit = "centimetres" if below < 500 and far < 40_000 else "millimetres" if far < 400_000 else ""
        hint = f"are these {unit}?" if unit else ""
    yield Odd(f"{path}: {text}", f"{hint} Points must be in metres, in the LiDAR's frame".lstrip())


def misfit(data: FrameInput) -> str:
    """What makes no sense about a file's layout; empty if nothing does."""
    if (share := absurd(data)) > MOST_ABSURD and not _of_map(data.there):
        return f"{share:.0%} of the points have coordinates that no LiDAR measures"
    if axes := _whole(data.there):
        return f"{axes} holds whole numbers only"
    record = parse_layout(data.frame.lidar_layout).record
    found = rhythm(data.cloud_data)
    best, size = found.best, record.itemsize
    if size >= len(found.equal) or not found.equal[best]:
        return ""
    if best % size and found.beats(best, size, 0.8):
        return f"its bytes repeat every {best}, but records of that layout have {size}"
    if (
        best % size == 0
        and found.beats(best, size, 0.8)
        and (number := _alternating(data.cloud.xyz, best // size))
    ):
        return f"every {number} records belong together"
    for part in range(12, size // 2 + 1):
        if size % part == 0 and not found.beats(size, part, 0.5) and _repeats(data, record, part):
            return f"its bytes repeat every {part}, but records of that layout have {size}"
    if found.equal[[4, 8]].max() > 0.4 * found.equal[size] and column_major(data.cloud_data):
        return "parts of the file differ more than columns do"
    return ""


def absurd(data: FrameInput) -> float:
    """Share of points with coordinates that no LiDAR gives, not even for "no return".

    Wrong types give exponents at random: numbers next to nothing, numbers beyond all measure, and many kinds
    of "not a number", side by side with others. What stands for "no return" is one value.
    """
    record = parse_layout(data.frame.lidar_layout).record
    rows = np.frombuffer(data.cloud_data, record, len(data.cloud_data) // record.itemsize)
    rows = rows[:: -(-len(rows) // _ROWS) or 1]
    kinds = sum(
        len(np.unique(rows[axis][np.isnan(rows[axis])].view("<u4")))
        for axis in "xyz"
        if rows[axis].dtype == np.float32
    )
    with np.errstate(invalid="ignore"):
        some = np.stack([rows[axis].astype(np.float64) for axis in "xyz"])
    size = np.abs(some)
    tiny, huge = (size < 1e-5) & (size > 0), (size > 1e5) & np.isfinite(size)
    usual = (size > 1e-3) & (size < 1e3)
    bad = ((tiny | huge).any(axis=0) & usual.any(axis=0)) | ((size < 1e-30) & (size > 0)).any(axis=0)
    if len(np.unique(some[huge])) > 10:
        bad |= huge.any(axis=0)
    if kinds > 9:
        bad |= np.isnan(some).any(axis=0)
    return float(bad.mean()) if len(bad) else 0.0


def _whole(xyz: NDArray[np.float64]) -> str:
    """Axes within reach that hold different whole numbers, as times, rings and intensities are."""
    if len(xyz) < 100 or np.median(np.abs(xyz)) > FARTHEST_HALF:
        return ""
    some = xyz[:1000]
    whole = ((np.rint(some) == some).mean(axis=0) > 0.98) & (np.ptp(some, axis=0) > 0)
    return " and ".join(np.array(list("xyz"))[whole])


def _of_map(xyz: NDArray[np.float64]) -> bool:
    """Whether points lie together, far from the origin."""
    if len(xyz) < 20 or np.hypot(*xyz[:, :2].mean(axis=0)) < 500:
        return False
    middle = np.median(xyz, axis=0)
    spread = np.median(np.abs(xyz - middle), axis=0)
    away = float(np.linalg.norm(middle[:2]))
    return bool(1000 < away < 1e9 and away > 20 * np.linalg.norm(spread[:2]))


def _is_polar(xyz: NDArray[np.float64]) -> bool:
    """Whether the columns are ranges and angles in radians, of directions all around."""
    x, y, z = xyz.T
    around, rise = np.ptp(y), np.abs(z).max()
    return bool(x.min() >= 0 and x.max() > 7 and 4 < around < 6.3 and 0.05 < rise < 1.58)


def _alternating(xyz: NDArray[np.float32], number: int) -> int:
    """Which of every so many points are no points, counted from 1; 0 if all of them are, or none."""
    bad = []
    for place in range(number):
        with np.errstate(invalid="ignore"):
            some = xyz[place::number]
            bad.append(degenerate(some[:: len(some) // _ROWS + 1].astype(np.float64)))
    return bad.index(True) + 1 if any(bad) and not bad[0] else 0


def _repeats(data: FrameInput, record: np.dtype[np.void], part: int) -> bool:
    """Whether the coordinates of a record stand in it again, some bytes later, with other values."""
    assert record.fields is not None
    rows = np.frombuffer(data.cloud_data, np.uint8, len(data.cloud) * record.itemsize)
    table = rows.reshape(-1, record.itemsize)[:_ROWS]
    for axis in "xyz":
        kind, place = record.fields[axis][:2]
        if place + part + kind.itemsize > record.itemsize:
            return False
        first, second = (
            np.ascontiguousarray(table[:, at : at + kind.itemsize]).view(kind).astype(np.float64).ravel()
            for at in (place, place + part)
        )
        there = (first != 0) & (second != 0) & np.isfinite(first + second)
        if there.sum() < 20 or (first[there] == second[there]).mean() > 0.5:
            return False
        ours, theirs = (np.percentile(np.abs(one[there]), (25, 50, 75)) for one in (first, second))
        if not np.allclose(ours, theirs, rtol=0.3, atol=0.1):
            return False
    return True
