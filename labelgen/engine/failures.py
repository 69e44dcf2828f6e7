"""Records of frames that failed: what a run keeps of an exception, or of a process that died."""

from __future__ import annotations

import traceback
from typing import Protocol

from labelgen.core.errors import FrameError
from labelgen.core.records import Failure
from labelgen.core.redact import redact
from labelgen.core.wording import one_line

#: Characters of a traceback that are kept: the last ones.
MAX_TRACEBACK = 4000


class Named(Protocol):
    """A frame of a plan, or a run's entry of one."""

    @property
    def frame_id(self) -> str:
        """Of the frame."""

    @property
    def source_id(self) -> str:
        """Of what it is made of."""


def failure(frame: Named, stage: str, kind: str, reason: str, trace: str = "") -> Failure:
    """The record of a frame that failed.

    Args:
        frame: that did.
        stage: at which it did: name of a step, or of an operation.
        kind: name of the exception, or of what else happened.
        reason: in words, without the frame's id.
        trace: of the exception, or what the process wrote before it died.
    """
    return Failure(
        frame_id=frame.frame_id,
        source_id=frame.source_id,
        stage=stage,
        error_type=kind,
        message=one_line(f"frame {frame.frame_id}: {reason}"),
        traceback=redact(trace)[-MAX_TRACEBACK:],
    )


def failure_by(frame: Named, stage: str, error: BaseException) -> Failure:
    """The record of a frame at which a stage raised an exception."""
    reason = str(error)
    if isinstance(error, FrameError) and error.frame_id == frame.frame_id:  # it names the frame itself
        reason = ": ".join(part for part in (error.path, error.message) if part)
    return failure(frame, stage, type(error).__name__, reason, "".join(traceback.format_exception(error)))
