"""The two kinds of errors that reach a user: one stops the command, the other fails a frame."""

from __future__ import annotations


class LabelgenError(Exception):
    """Base of all errors that are the input's fault; the message is one line and says what to do."""


class UserError(LabelgenError):
    """The command cannot start or go on: wrong path, configuration, version. The CLI exits with 2."""


class FrameError(LabelgenError):
    """One frame cannot be labelled; it is recorded as failed and the run goes on.

    The message names the frame and the file. Only a plain string is kept, so that the error survives
    pickling between processes.
    """

    def __init__(self, message: str, *, frame_id: str = "", path: str = "") -> None:
        self.frame_id, self.path, self.message = frame_id, path, message
        where = ": ".join(part for part in (f"frame {frame_id}" if frame_id else "", path) if part)
        super().__init__(f"{where}: {message}" if where else message)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.message, self.frame_id, self.path))


def _rebuild(message: str, frame_id: str, path: str) -> FrameError:
    return FrameError(message, frame_id=frame_id, path=path)
