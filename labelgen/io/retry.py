"""Retries file operations that fail for a moment: a network file system that reconnects, a busy disk."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")

#: Errors that pass. Not among them: no such file, no permission, disk full, which stay what they are.
TRANSIENT = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EAGAIN", "EINTR", "EBUSY", "ESTALE", "EREMOTEIO", "ENOLCK", "ETIMEDOUT"),
        *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ENOTCONN", "EPIPE"),
        *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, is a file operation's that may pass."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in TRANSIENT:
            return True
        error = error.__cause__
    return False


def patiently(
    action: Callable[[], _Result],
    *,
    attempts: int = 4,
    first_s: float = 0.25,
    sleep: Callable[[float], None] = time.sleep,
) -> _Result:
    """Do something, and again after a while if it fails for a reason that may pass.

    The pauses grow by a factor of two and are drawn at random from nothing up to that, so that many workers
    that failed together do not come back together ("full jitter": Brooker 2015, AWS Architecture Blog).

    Args:
        action: without arguments; must be safe to repeat.
        attempts: at most.
        first_s: longest first pause, seconds.
        sleep: takes seconds.

    Raises:
        Exception: what the last attempt raised, or the first that `is_transient` denies.
    """
    for attempt in range(attempts - 1):
        try:
            return action()
        except Exception as error:
            if not is_transient(error):
                raise
            sleep(random.uniform(0, first_s * 2**attempt))
    return action()
