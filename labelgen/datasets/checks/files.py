"""Can the files of a plan be read at all?"""

from __future__ import annotations

from collections.abc import Iterator

from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.checks.sight import PlanSight
from labelgen.errors import FrameError


@check("cloud-readable", "plan", refuse=True)
def readable(plan: PlanSight) -> Iterator[Odd]:
    """None of the point clouds that were tried can be read."""
    errors = [look for look in plan.looks if isinstance(look, FrameError)]
    if errors and len(errors) == len(plan.looks):
        others = f"; {len(errors)} frames were tried" if errors[1:] else ""
        yield Odd(f"{errors[0]}{others}")


@check("data-set", "plan")
def noted(plan: PlanSight) -> Iterator[Odd]:
    """The data set's reader came upon something that does not stop labelling."""
    for note in plan.info.notes:
        yield Odd(note)


@check("files-missing", "plan")
def missing(plan: PlanSight) -> Iterator[Odd]:
    """Files that the plan names are not there."""
    if plan.info.missing_files:
        yield Odd(f"{plan.info.missing_files:,} LiDAR and image files are missing")
