"""The two kinds of errors that reach a user: one stops the command, the other fails a frame."""

from __future__ import annotations

from labelgen.core.wording import one_line


class LabelgenError(Exception):
    """Base of all errors that are the input's fault; the message says what to do.

    As text it is one printable line of bounded length, whatever a file put into it.
    """

    def __str__(self) -> str:
        return one_line(self.as_given())

    def as_given(self) -> str:
        """The message with all that was put into it."""
        return super().__str__()


class UserError(LabelgenError):
    """The command cannot start or go on: wrong path, configuration, version. The CLI exits with 2."""


class FrameError(LabelgenError):
    """One frame cannot be labelled; it is recorded as failed and the run goes on.

    The message names the frame and the file. Only a plain string is kept, so that the error survives
    pickling between processes.
    """

    def __init__(self, message: str, *, frame_id: str = "", path: str = "") -> None:
        self.frame_id, self.path, self.message = frame_id, path, one_line(message)
        where = ": ".join(part for part in (f"frame {frame_id}" if frame_id else "", path) if part)
        super().__init__(f"{where}: {message}" if where else message)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.frame_id, self.path))


class RawFileError(FrameError):
    """A file below the data root is missing, or not what was labelled: mended outside of the run."""


def _rebuild(kind: type[FrameError], message: str, frame_id: str, path: str) -> FrameError:
    return kind(message, frame_id=frame_id, path=path)


class UnusedSettingWarning(UserWarning):
    """A setting was given that has no effect, as the chosen backend has none of that name."""
