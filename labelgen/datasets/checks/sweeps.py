"""Are sweeps whole, and of one moment? What one cloud cannot tell alone, others of its data set do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Frame, parse_layout
from labelgen.datasets.checks.inputs import FrameInput, PlanInput
from labelgen.datasets.checks.registry import Odd, check

#: A file this much smaller than those around it, or larger, is odd, if such files are rare.
LEAST_MISSING, LEAST_TOO_MUCH = 0.05, 0.5
#: Degrees that a turn may lack.
LEAST_GAP = 8
#: Degrees from which a sweep is a turn at all; below, it is a sector, as of LiDARs without moving parts.
LEAST_TURN = 270
#: Data sets whose sweeps are whole turns.
WHOLE_TURNS = ("nuscenes",)
#: A sweep of this many seconds is bent if the vehicle drives this many metres per second or turns this many
#: degrees per second.
LEAST_SECONDS, LEAST_SPEED, LEAST_TURNING = 0.02, 1.0, 5.0
#: Degrees that the elevations of one ring deviate: less as it was measured, more once it is deskewed.
MOST_ON_RING = 0.1


@check("cloud-size", "plan")
def size(plan: PlanInput) -> Iterator[Odd]:
    """A LiDAR file is much smaller or larger than those before and after it."""
    groups: dict[str, list[Frame]] = {}
    for scene in plan.scenes.values():
        known = [frame for frame in scene if frame.frame_id in plan.sizes]
        # Of scenes with few known sizes, those of the same layout are looked at together.
        groups.setdefault(scene[0].scene_id if len(known) >= 5 else scene[0].lidar_layout, []).extend(known)
    for frames in groups.values():
        if len(frames) < 5:
            continue
        points = np.array(
            [plan.sizes[one.frame_id] / parse_layout(one.lidar_layout).record.itemsize for one in frames]
        )
        usual = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(points, 2, "reflect"), 5), axis=1)
        off = points - usual
        rare = 10 * 1.48 * np.median(np.abs(off))
        short, long = np.maximum(LEAST_MISSING * usual, rare), np.maximum(LEAST_TOO_MUCH * usual, rare)
        for row in np.flatnonzero((off < -short) | (off > long)):
            yield Odd(
                f"{frames[row].lidar_path} has {points[row]:,.0f} points, but the files around it have "
                f"{usual[row]:,.0f}",
                "was the file cut off? Copy it again" if off[row] < 0 else "does the file hold two sweeps?",
                "size",
            )


@check("cloud-turn", "plan")
def turn(plan: PlanInput) -> Iterator[Odd]:
    """A sweep of a spinning LiDAR ends before its turn is complete."""
    inputs = [one for one in plan.frame_inputs if isinstance(one, FrameInput)]
    gaps = {data.frame.frame_id: missing_degrees(data) for data in inputs}
    gaps = {frame_id: gap for frame_id, gap in gaps.items() if gap}
    if not gaps or (plan.info.dataset not in WHOLE_TURNS and 2 * len(gaps) >= len(inputs)):
        return  # a LiDAR that is told to leave out a sector does so in every sweep
    for data in inputs:
        if data.frame.frame_id in gaps:
            yield Odd(
                f"{data.frame.lidar_path}: {len(data.cloud):,} points are not a whole turn: the sweep "
                f"ends {gaps[data.frame.frame_id]} degrees short of one",
                "was the download cut off? Copy it again",
                "turn",
            )


def missing_degrees(data: FrameInput) -> int:
    """Degrees between the last points of a file and the first ones, where nothing is; 0 for a whole turn.

    A sector that the vehicle hides lies anywhere in the file, one that was cut off between end and beginning.
    """
    xyz = data.cloud.xyz[data.cloud.returned & (data.distance > 1.5)]
    if len(xyz) < 3600:
        return 0
    azimuth = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0])) % 360
    there = np.bincount(azimuth.astype(np.int64) % 360, minlength=360) > 0
    edges = np.flatnonzero(there)
    steps = np.diff(np.append(edges, edges[0] + 360))
    gap = int(steps.max()) - 1
    if gap < LEAST_GAP or np.count_nonzero(there) < LEAST_TURN:
        return 0
    begin = float(edges[steps.argmax()])  # degrees; the gap goes from here to begin + gap
    few = max(32, len(xyz) // 200)
    ends = [_middle(azimuth[:few]), _middle(azimuth[-few:])]
    sides = [begin, begin + gap + 1]
    beside = any(_apart(ends[0], sides[one]) < 6 and _apart(ends[1], sides[1 - one]) < 6 for one in (0, 1))
    return gap if beside else 0


def _middle(degrees: NDArray[np.float32]) -> float:
    """Mean direction; NaN where there is none."""
    mean = np.exp(1j * np.radians(degrees.astype(np.float64))).mean()
    return float(np.degrees(np.angle(mean))) if abs(mean) > 0.9 else float("nan")


def _apart(one: float, other: float) -> float:
    return abs((one - other + 180) % 360 - 180)


@check("cloud-skew", "plan")
def skew(plan: PlanInput) -> Iterator[Odd]:
    """Points were measured while the vehicle moved, and do not seem to be deskewed."""
    for data in plan.frame_inputs:
        if not isinstance(data, FrameInput) or data.cloud.time is None:
            continue
        times = data.cloud.time[data.cloud.returned]
        times = times[np.isfinite(times)]
        if len(times) < 100:
            continue
        seconds = float(np.subtract(*np.percentile(times, (99, 1))))
        speed, turning = motion(data.frame, plan.scenes[data.frame.scene_id])
        if not LEAST_SECONDS < seconds < 2 or (speed < LEAST_SPEED and turning < LEAST_TURNING):
            continue
        off = off_ring(data)
        if off is not None and off > MOST_ON_RING:
            continue
        measured = "" if off is None else ", and the points of each ring lie as they were measured"
        yield Odd(
            f"{data.frame.lidar_path}: the column time spans {seconds:.3f} s while the vehicle drives "
            f"{speed:.1f} m/s and turns {turning:.0f} degrees/s{measured}",
            "clouds must be deskewed to the frame's timestamp (docs/frames-parquet.md): is this one? Its "
            "times are not used",
        )
        return


def motion(frame: Frame, scene: Sequence[Frame]) -> tuple[float, float]:
    """Metres and degrees per second that the LiDAR moves by the poses of the nearest other frame."""
    others = [one for one in scene if one.timestamp_us != frame.timestamp_us]
    if not others:
        return 0.0, 0.0
    other = min(others, key=lambda one: abs(one.timestamp_us - frame.timestamp_us))
    seconds = abs(other.timestamp_us - frame.timestamp_us) * 1e-6
    step = np.linalg.inv(frame.global_from_lidar) @ other.global_from_lidar
    angle = np.degrees(np.arccos(np.clip((np.trace(step[:3, :3]) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(step[:3, 3])) / seconds, float(angle) / seconds


def off_ring(data: FrameInput) -> float | None:
    """Degrees that the elevations within a ring deviate, of the middle ring; None without rings."""
    cloud = data.cloud
    if cloud.ring is None:
        return None
    use = np.flatnonzero(cloud.returned & (data.distance > 4) & (data.distance < 30) & (cloud.ring < 255))
    elevation = np.degrees(np.arcsin(cloud.xyz[use, 2] / data.distance[use]))
    spreads = []
    for number in np.unique(cloud.ring[use]):
        of_ring = elevation[cloud.ring[use] == number]
        if len(of_ring) >= 50:
            spreads.append(1.48 * float(np.median(np.abs(of_ring - np.median(of_ring)))))
    return float(np.median(spreads)) if spreads else None
