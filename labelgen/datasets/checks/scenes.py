"""Do the poses of a scene make sense from frame to frame?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.checks.sight import PlanSight

#: Metres per second that a vehicle may drive.
MOST_SPEED = 60.0


@check("scene-poses", "plan")
def missing_poses(plan: PlanSight) -> Iterator[Odd]:
    """All poses of a scene are the identity: it cannot be fused over time."""
    for name, scene in plan.scenes.items():
        if len(scene) > 1 and all((frame.global_from_lidar == np.eye(4)).all() for frame in scene):
            yield Odd(
                f"scene {name}: no poses (all are the identity)", "it cannot be fused over time", "poses"
            )


@check("scene-order", "plan")
def order(plan: PlanSight) -> Iterator[Odd]:
    """A frame is not later than the one before it in its scene."""
    for name, scene in plan.scenes.items():
        for before, after in pairwise(scene):
            if after.timestamp_us <= before.timestamp_us:
                yield Odd(
                    f"scene {name}: frame {after.frame_id} is not later than {before.frame_id}", "", "order"
                )


@check("scene-speed", "plan")
def speed(plan: PlanSight) -> Iterator[Odd]:
    """The vehicle moves faster from one frame to the next than any does."""
    for name, scene in plan.scenes.items():
        for before, after in pairwise(scene):
            seconds = (after.timestamp_us - before.timestamp_us) * 1e-6
            metres = float(np.linalg.norm((after.global_from_lidar - before.global_from_lidar)[:3, 3]))
            if seconds > 0 and metres / seconds > MOST_SPEED:
                yield Odd(
                    f"scene {name}: {metres:.1f} m in {seconds:.2f} s from frame {before.frame_id} to "
                    f"{after.frame_id}",
                    "are positions metres, and times microseconds?",
                    "speed",
                )
