"""Finds the frame of a run that a user named."""

from __future__ import annotations

from labelgen.core.errors import UserError
from labelgen.core.wording import whole_number
from labelgen.runs import Run


def find_frame(run: Run, wanted: str) -> str:
    """A frame's id from its id, its number in the order of the run, or the beginning of its id.

    Raises:
        UserError: no such frame, or several.
    """
    if wanted in run or wanted in run.failures:
        return run.entry(wanted).frame_id  # tells of a failed frame why it failed
    number = whole_number(wanted)
    if number is not None and number < len(run):
        return run.frames[number]
    found = [frame_id for frame_id in run.frames if wanted and frame_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise UserError(f"{len(found)} frames begin with {wanted!r} ({some}); give more of the id")
    failed = [frame_id for frame_id in run.failures if wanted and frame_id.startswith(wanted)]
    if len(failed) == 1:
        run.entry(failed[0])
    there_are = (
        f"it has {len(run)}, numbers 0 to {len(run) - 1}, the first is {run.frames[0]}"
        if run.frames
        else "it has none"
    )
    raise UserError(f"{run.url} has no frame {wanted!r}; {there_are}")
