"""Are times microseconds, of one clock, and of the same moment for a sweep and its images?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Frame
from labelgen.datasets.checks.inputs import PlanInput
from labelgen.datasets.checks.registry import Odd, check

#: Seconds that an image may be taken before or after its sweep.
MOST_APART_S = 0.2
#: Microseconds since 1970 of the years 2000 and 2100: times between them are surely microseconds.
_FIRST, _LAST = 946_684_800_000_000, 4_102_444_800_000_000
#: Longest time since a machine was switched on, microseconds: three years.
_UPTIME = 100_000_000_000_000
#: Shortest time between two sweeps, and the longest that no other unit would explain, in microseconds.
_SHORTEST, _LONGEST = 2_000, 30_000_000
#: {name of a unit: how many of it are one microsecond's worth of numbers}.
_UNITS = {"seconds": 1e6, "milliseconds": 1e3, "nanoseconds": 1e-3}
#: Offsets of clocks that have a name, in seconds.
_CLOCKS = {18.0: "GPS time is ahead of UTC by exactly that", 37.0: "TAI is ahead of UTC by exactly that",
           19.0: "TAI is ahead of GPS time by exactly that"}  # fmt: skip


@check("time-units", "plan")
def units(plan: PlanInput) -> Iterator[Odd]:
    """Timestamps are not microseconds, by the year that they give or the time between frames."""
    times = np.array([frame.timestamp_us for frame in plan.frames], np.int64)
    steps = _steps(list(plan.scenes.values()))
    if (times >= _FIRST).all() and (times <= _LAST).all():
        return
    first = plan.frames[int(np.argmin((times >= _FIRST) & (times <= _LAST)))]
    time = first.timestamp_us
    step = float(np.median(steps)) if len(steps) else None
    text = f"timestamp_us of frame {first.frame_id} is {time}"
    if time > _LAST or _UPTIME < time < _FIRST:
        yield Odd(f"{text}, which is the year {_year(time)} in microseconds", _meant(time, step))
    elif step is not None and step < _SHORTEST:
        yield Odd(f"{text}; frames are {step:g} microseconds apart", _meant(time, step))
    elif step is None and _FIRST <= time * 1e3 <= _LAST:
        yield Odd(f"{text}, which is {time / 8.64e10:.1f} days in microseconds", _meant(time, step))
    elif step is not None and step > _LONGEST and _SHORTEST < step / 1e3 < _LONGEST:
        yield Odd(f"{text}; frames are {step * 1e-6:g} s apart", "are they in nanoseconds?")


@check("camera-time", "plan")
def camera_time(plan: PlanInput) -> Iterator[Odd]:
    """A camera's image was taken long before or after its sweep."""
    shots = plan.shots
    for name, rows in shots.by_name():
        seconds = shots.offset_us[rows] * 1e-6
        late = np.flatnonzero(np.abs(seconds) > MOST_APART_S)
        if not late.size:
            continue
        frame = plan.frames[shots.frame[rows[late[0]]]]
        more = f" and {late.size - 1:,} more" if late.size > 1 else ""
        yield Odd(
            f"camera {name} was fired {seconds[late[0]]:+.2f} s from the sweep "
            f"(frame {frame.frame_id}{more})",
            _offset(seconds, frame, shots.offset_us[rows[late[0]]]),
            name,
        )


def _steps(scenes: Sequence[Sequence[Frame]]) -> NDArray[np.int64]:
    """Microseconds from frame to frame."""
    steps = [np.diff([frame.timestamp_us for frame in scene]) for scene in scenes if len(scene) > 1]
    found = np.concatenate(steps) if steps else np.empty(0, np.int64)
    return np.asarray(found[found > 0])


def _meant(time: int, step: float | None) -> str:
    """In which unit times would make sense."""
    for unit, factor in _UNITS.items():
        if _FIRST <= time * factor <= _LAST and (step is None or _SHORTEST < step * factor < 1e9):
            return f"are they in {unit}? Then they date from {_year(time * factor)}"
    if step is not None and step < _SHORTEST:
        return "are they in seconds or milliseconds?"
    return "times are microseconds since 1970, or since the start of a drive"


def _year(microseconds: float) -> str:
    try:
        return str(datetime.fromtimestamp(microseconds * 1e-6, UTC).year)
    except (ValueError, OverflowError, OSError):
        return f"{1970 + microseconds / 3.15576e13:,.0f}"


def _offset(seconds: NDArray[np.float64], frame: Frame, offset_us: int) -> str:
    """What an offset of clocks looks like."""
    time = frame.timestamp_us + int(offset_us)
    if time == 0:
        return "it has no time; give the sweep's if the image was taken at the same moment"
    whose, odd, right = ("sweep", frame.timestamp_us, time)
    if _FIRST <= frame.timestamp_us <= _LAST:
        whose, odd, right = ("camera", time, frame.timestamp_us)
    for unit, factor in _UNITS.items():
        if abs(odd * factor / right - 1) < 1e-3:
            return f"is the {whose}'s time in {unit}?"
    middle = float(np.median(seconds))
    if len(seconds) > 1 and np.ptp(seconds) < 2 * MOST_APART_S:
        whole = round(middle / 1800)
        if whole and abs(middle - 1800 * whole) < MOST_APART_S:
            return f"all of this camera's: {whole / 2:+g} hours, is one of the clocks in local time?"
        for clock, name in _CLOCKS.items():
            if abs(abs(middle) - clock) < MOST_APART_S:
                return f"all of this camera's; {name}"
        return "all of this camera's: do the clocks differ?"
    return "is it the image of another frame?"
