"""Records of failed frames say who, where and why, once, in one line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from labelgen.core.errors import FrameError, RawFileError
from labelgen.engine.failures import MAX_TRACEBACK, failure, failure_by


@dataclass(frozen=True)
class Entry:
    """A frame."""

    frame_id: str = "f7"
    source_id: str = "s7"


def raised(error):
    """The exception with a trace."""
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("no such\nthing"), "ValueError", "frame f7: no such thing"),
        (FrameError("is empty", frame_id="f7", path="a.bin"), "FrameError", "frame f7: a.bin: is empty"),
        (RawFileError("is gone", frame_id="f7"), "RawFileError", "frame f7: is gone"),
        (FrameError("is empty", frame_id="f6"), "FrameError", "frame f7: frame f6: is empty"),
    ],
)
def test_an_exception(error, kind, message):
    found = failure_by(Entry(), "load", raised(error))
    assert (found.frame_id, found.source_id, found.stage) == ("f7", "s7", "load")
    assert (found.error_type, found.message) == (kind, message)
    assert "in raised" in found.traceback


def test_the_end_of_a_long_trace_is_kept_without_secrets():
    trace = "x" * 2 * MAX_TRACEBACK + "https://u:hunter2@host/ the end"
    found = failure(Entry(), "write", "WorkerDied", "kills its process", trace)
    assert len(found.traceback) <= MAX_TRACEBACK
    assert found.traceback.endswith("the end")
    assert "hunter2" not in found.traceback
