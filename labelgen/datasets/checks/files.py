"""Can the files of a plan be read at all?"""

from __future__ import annotations

from collections.abc import Iterator

from labelgen.core.errors import FrameError
from labelgen.datasets.checks.inputs import PlanInput
from labelgen.datasets.checks.registry import Odd, check


@check("cloud-readable", "plan", refuse=True)
def readable(plan: PlanInput) -> Iterator[Odd]:
    """None of the point clouds that were tried can be read."""
    errors = [one for one in plan.frame_inputs if isinstance(one, FrameError)]
    if errors and len(errors) == len(plan.frame_inputs):
        others = f"; {len(errors)} frames were tried" if errors[1:] else ""
        yield Odd(f"{errors[0]}{others}")


@check("data-set", "plan")
def noted(plan: PlanInput) -> Iterator[Odd]:
    """The data set's reader came upon something that does not stop labelling."""
    for note in plan.info.notes:
        yield Odd(note)


@check("files-missing", "plan")
def missing(plan: PlanInput) -> Iterator[Odd]:
    """Files that the plan names are missing."""
    if plan.info.missing_files:
        yield Odd(f"{plan.info.missing_files:,} LiDAR and image files are missing")
