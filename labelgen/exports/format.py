"""What an export takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labelgen.exports.output import Output
from labelgen.runs import Run


@dataclass(frozen=True)
class Options:
    """What a user can choose.

    Attributes:
        fill: see `labelgen.exports.fill.filled`.
        split: that a submission is named after.
        task: ``segmentation`` or ``tracking``, of a panoptic submission.
    """

    fill: str = "refuse"
    split: str = "val"
    task: str = "segmentation"


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        about: what is written.
        write: writes it, from a labelled run, into a new folder; raises `UserError` where the run has what
            the format cannot hold.
        adds: to an earlier export into the same folder; see `labelgen.exports.output.new_folder`.
    """

    about: str
    write: Callable[[Run, Output, Options], None]
    adds: bool = False
