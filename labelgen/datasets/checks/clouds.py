"""Do the points of a cloud make sense: where they are, how bright, of which beam, and of when?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelgen.datasets.checks.inputs import FrameInput
from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.loading import NO_RING

#: Fewer returns are no cloud of a street.
FEWEST = 100
#: Share of a cloud that is no return: organised clouds have half of them, towards the sky.
MOST_NOTHING = 0.8
#: Share of returns that are exact copies of others.
MOST_COPIES = 0.4
#: Metres: what deviates less is flat.
FLAT = 0.01
#: Layouts whose intensities have a range of their own, as their data sets have.
INTENSITY = {"kitti": 1.0, "nuscenes": 255.0}
#: Seconds that the times of a sweep's points may span, aggregated sweeps included.
LONGEST_SWEEP = 5.0
#: Of large clouds, copies are sought among the points that one in so many falls to, copies always together.
_PART = 16


@check("cloud-returns", "frame")
def returns(data: FrameInput) -> Iterator[Odd]:
    """Hardly any point is a return."""
    number, path = int(data.cloud.returned.sum()), data.frame.lidar_path
    if number < FEWEST:
        yield Odd(f"{path} has {number} points that are a return, of {len(data.cloud)}", "", "few")
    elif number < (1 - MOST_NOTHING) * len(data.cloud):
        yield Odd(
            f"{path}: {1 - number / len(data.cloud):.0%} of {len(data.cloud):,} points are not returns "
            f"((0, 0, 0), not finite, or a value that stands for no return)",
            "are the coordinates in metres, and in the LiDAR's frame?",
            "share",
        )


@check("cloud-shape", "frame")
def shape(data: FrameInput) -> Iterator[Odd]:
    """All points lie in one place, on one line or in one plane."""
    xyz = data.cloud.xyz[data.sample].astype(np.float64)
    if len(xyz) < FEWEST:
        return
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(xyz.T)), 0))
    if spread[0] < FLAT:
        what = "place" if spread[2] < FLAT else "line" if spread[1] < FLAT else "plane"
        yield Odd(
            f"{data.frame.lidar_path}: all points lie in one {what}",
            "are x, y and z in the right columns?",
        )


@check("cloud-copies", "frame")
def copies(data: FrameInput) -> Iterator[Odd]:
    """Many points are exact copies of others."""
    xyz = data.cloud.xyz
    if len(xyz) > 8000:  # copies fall to the same part
        scattered = xyz[:, 0].copy().view(np.uint32) * np.uint32(0x9E3779B1)
        rows = np.flatnonzero(scattered < 2**32 // _PART)
    else:
        rows = np.arange(len(xyz))
    beyond = (np.abs(xyz[rows]) > 1).any(axis=1)  # what is nearer may be the vehicle, where points do repeat
    rows = rows[data.cloud.returned[rows] & beyond]
    if len(rows) < FEWEST // 4:
        return
    mark = np.ascontiguousarray(xyz[rows]).view(np.dtype((np.void, 12)))
    share = 1 - len(np.unique(mark)) / len(rows)
    if share > MOST_COPIES:
        yield Odd(
            f"{data.frame.lidar_path}: {share:.0%} of the points are exact copies of others",
            "was the cloud written twice, or does each beam have two identical returns?",
        )


@check("cloud-intensity", "frame")
def intensity(data: FrameInput) -> Iterator[Odd]:
    """Intensities are not in the layout's range, negative, not finite, or all the same."""
    layout, path = data.frame.lidar_layout, data.frame.lidar_path
    values = data.cloud.intensity[data.sample]
    if "intensity" not in data.columns or len(values) < FEWEST:
        return
    known = values[np.isfinite(values)]
    if len(known) < 0.99 * len(values):
        yield Odd(
            f"{path}: the intensity of {1 - len(known) / len(values):.0%} of the points is not a number"
        )
    if not len(known):
        return
    low, usual, high = (float(value) for value in np.percentile(known, (0.5, 99.5, 100)))
    most = INTENSITY.get(layout)
    if low < 0:
        yield Odd(f"{path}: intensities are negative, down to {known.min():.4g}", "is it the right column?")
    elif known.min() == high:
        yield Odd(
            f"{path}: all points have intensity {high:g}",
            "training learns nothing from it; if there is none, leave it out of lidar_layout's names",
        )
    elif most is not None and usual > most:
        own = ",".join(f"{name}:f4" for name in data.columns)
        yield Odd(
            f"{path}: intensities reach {high:.4g}, but those of layout {layout} are 0 to {most:g}",
            f"divide them, or name the columns: lidar_layout {own} takes any range",
        )
    elif most == 255 and high <= 1:
        yield Odd(
            f"{path}: intensities reach {high:.4g}, but those of layout {layout} are 0 to {most:g}",
            "multiply them by 255",
        )
    elif usual > 65535:
        yield Odd(f"{path}: intensities reach {high:.4g}", "is it the right column?")


@check("cloud-ring", "frame")
def ring(data: FrameInput) -> Iterator[Odd]:
    """Rings are not numbers from 0 to 254."""
    rings = data.cloud.ring
    if rings is None or not len(data.sample):
        return
    share = float((rings[data.sample] == NO_RING).mean())
    if share > 0.01:
        yield Odd(
            f"{data.frame.lidar_path}: the ring of {share:.0%} of the points is not a number from 0 to 254",
            "is it the right column, and of the right type?",
        )


@check("cloud-time", "frame")
def time(data: FrameInput) -> Iterator[Odd]:
    """The times of points are not seconds from the frame's timestamp."""
    if data.cloud.time is None:
        return
    times = data.cloud.time[data.sample].astype(np.float64)
    times = times[np.isfinite(times)]
    if len(times) < FEWEST:
        return
    first, last = np.percentile(times, (1, 99))
    if last - first > LONGEST_SWEEP or max(abs(first), abs(last)) > 2 * LONGEST_SWEEP:
        span = last - first
        unit = next(
            (name for name, size in (("milli", 1e3), ("micro", 1e6), ("nano", 1e9)) if span < size), ""
        )
        sure = unit and span > LONGEST_SWEEP
        yield Odd(
            f"{data.frame.lidar_path}: the times of the points run from {first:.6g} to {last:.6g}",
            (f"are they in {unit}seconds? " if sure else "")
            + "the column time holds seconds from the frame's timestamp",
        )
