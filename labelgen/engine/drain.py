"""Turns SIGTERM, as schedulers and spot machines send it, and Ctrl-C into a wish to finish what is begun."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Exit codes of a run that was stopped by SIGTERM (sysexits.h: EX_TEMPFAIL) and by Ctrl-C (as shells have
#: it), and is to be called again.
STOPPED, INTERRUPTED = 75, 130
_ANNOUNCED = b"\nfinishing the frames that are begun; Ctrl-C again ends at once\n"


class Stop(threading.Event):
    """Is set when no frame is to be begun any more.

    Attributes:
        signal: number of the signal that asked for it; 0 if something else did.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signal = 0


@contextmanager
def draining(stop: Stop) -> Iterator[None]:
    """While the block lasts, SIGTERM and Ctrl-C set ``stop``; the second of either ends the process as ever.

    Does nothing in a thread, where signals cannot be had.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(number: int, frame: FrameType | None) -> None:
        again, stop.signal = stop.signal, stop.signal or number
        stop.set()
        if number == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        elif again:
            raise KeyboardInterrupt
        else:
            os.write(2, _ANNOUNCED)  # whatever is being printed now

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
