"""Turns SIGTERM, as schedulers and spot machines send it, into a request to finish what is begun."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Exit code of a run that was stopped so, and is to be called again (sysexits.h: EX_TEMPFAIL).
STOPPED = 75


@contextmanager
def draining(stop: threading.Event) -> Iterator[None]:
    """While the block lasts, SIGTERM sets ``stop``; a second one ends the process as ever.

    Does nothing in a thread, where signals cannot be had.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
