"""Is input that can be read also input that makes sense? Named checks of plans, frames and runs.

A check is a function beside this file, registered under a name with `check`; it gives what is `Odd`. Whether
that stops a run or is only told, the registration says. `survey` runs all of them before a run;
`frame_notes`, `image_notes` and `text_notes` run the others in the workers.
"""

from labelgen.datasets.checks import (
    clouds,
    coverage,
    distortion,
    files,
    fit,
    identity,
    images,
    intrinsics,
    mounts,
    records,
    scenes,
    sweeps,
    texts,
    times,
)
from labelgen.datasets.checks.inputs import FrameInput, Lens, PlanInput
from labelgen.datasets.checks.registry import (
    CHECKS,
    Check,
    Finding,
    Odd,
    check,
    check_names,
    noted_check,
    refuse,
    warnings_of,
)
from labelgen.datasets.checks.survey import (
    check_frame,
    check_image,
    check_plan,
    frame_notes,
    image_notes,
    survey,
    text_notes,
)
from labelgen.datasets.checks.texts import TextInput

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "FrameInput",
    "Lens",
    "Odd",
    "PlanInput",
    "TextInput",
    "check",
    "check_frame",
    "check_image",
    "check_names",
    "check_plan",
    "clouds",
    "coverage",
    "distortion",
    "files",
    "fit",
    "frame_notes",
    "identity",
    "image_notes",
    "images",
    "intrinsics",
    "mounts",
    "noted_check",
    "records",
    "refuse",
    "scenes",
    "survey",
    "sweeps",
    "text_notes",
    "texts",
    "times",
    "warnings_of",
]
