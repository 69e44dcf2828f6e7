"""What a data set's reader takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labelgen.core.frame import Frame
from labelgen.datasets.info import DatasetInfo

#: The frames in the order in which they are to be labelled, and what holds for all of them.
Planned = tuple[list[Frame], DatasetInfo]


@dataclass(frozen=True)
class Reader:
    """Reads one data set's own tables; clouds and images are read later, frame by frame, by their paths.

    Attributes:
        about: one sentence that says what is given as its data root.
        plan: from data root, version and split (empty texts where none is given) to the frames, whose paths
            are relative to ``DatasetInfo.dataroot``; raises `labelgen.core.errors.UserError` for a wrong data
            root, version or split, and for broken tables.
        plan_sweeps: as ``plan``, with a number of sweeps between one keyframe and the next that are frames,
            too; None where there are none.
    """

    about: str
    plan: Callable[[Path, str, str], Planned]
    plan_sweeps: Callable[[Path, str, str, int], Planned] | None = None
