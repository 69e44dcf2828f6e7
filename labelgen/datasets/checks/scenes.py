"""Do the poses of a scene make sense from frame to frame?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from labelgen.datasets.checks.inputs import PlanInput
from labelgen.datasets.checks.registry import Odd, check

#: Metres per second that a vehicle may drive.
MOST_SPEED = 60.0
#: Degrees of latitude per second that a vehicle drives at `MOST_SPEED`.
MOST_DEGREES = MOST_SPEED / 111_000


@check("scene-poses", "plan")
def missing_poses(plan: PlanInput) -> Iterator[Odd]:
    """All poses of a scene are the identity, or at one place, so it cannot be fused over time."""
    for name, scene in plan.scenes.items():
        first = scene[0].global_from_lidar
        if len(scene) < 2 or not all(
            (frame.global_from_lidar[:3, 3] == first[:3, 3]).all() for frame in scene
        ):
            continue
        if all((frame.global_from_lidar == np.eye(4)).all() for frame in scene):
            yield Odd(
                f"scene {name}: no poses (all are the identity)", "it cannot be fused over time", "poses"
            )
        else:
            yield Odd(
                f"scene {name}: all {len(scene)} poses are at exactly the same place",
                "correct only if the LiDAR stands still; otherwise it cannot be fused over time",
                "poses",
            )


@check("scene-degrees", "plan")
def degrees(plan: PlanInput) -> Iterator[Odd]:
    """The positions of all scenes are degrees of latitude and longitude, not metres."""
    found, scenes = [], {name: scene for name, scene in plan.scenes.items() if len(scene) > 2}
    for name, scene in scenes.items():
        path = np.array([frame.global_from_lidar[:2, 3] for frame in scene])
        way = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        seconds = (scene[-1].timestamp_us - scene[0].timestamp_us) * 1e-6
        # A car that waits is as slow, but goes to and fro, by noise alone.
        onward = float(np.linalg.norm(path[-1] - path[0])) > 0.8 * way
        if not (0 < way < MOST_DEGREES * max(seconds, 1) and onward and (np.abs(path) <= 180).all()):
            return
        found.append((name, way, seconds, path[0]))
    for name, way, seconds, (x, y) in found[:1]:
        yield Odd(
            f"scene {name}: the vehicle moves {way:.2g} m in {seconds:.1f} s, at {x:.5f}, {y:.5f}",
            "are positions in degrees of latitude and longitude? They must be in metres",
        )


@check("scene-order", "plan")
def order(plan: PlanInput) -> Iterator[Odd]:
    """A frame is not later than the one before it in its scene."""
    for name, scene in plan.scenes.items():
        for before, after in pairwise(scene):
            if after.timestamp_us <= before.timestamp_us:
                yield Odd(
                    f"scene {name}: frame {after.frame_id} is not later than {before.frame_id}", "", "order"
                )


@check("scene-speed", "plan")
def speed(plan: PlanInput) -> Iterator[Odd]:
    """The vehicle moves faster from one frame to the next than any does."""
    for name, scene in plan.scenes.items():
        for before, after in pairwise(scene):
            seconds = (after.timestamp_us - before.timestamp_us) * 1e-6
            metres = float(np.linalg.norm((after.global_from_lidar - before.global_from_lidar)[:3, 3]))
            if seconds > 0 and metres / seconds > MOST_SPEED:
                yield Odd(
                    f"scene {name}: {metres:.1f} m in {seconds:.2f} s from frame {before.frame_id} to "
                    f"{after.frame_id}",
                    "are positions in metres and times in microseconds?",
                    "speed",
                )
