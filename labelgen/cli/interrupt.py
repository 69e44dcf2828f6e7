"""Ctrl-C in work that can be resumed: says what is committed, and ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from labelgen.engine.drain import INTERRUPTED, STOPPED


@contextmanager
def interruptible(console: Console, run: Path | str | None) -> Iterator[None]:
    """While the block lasts, Ctrl-C ends the command with one line about a run; the next one at once.

    Args:
        console: for the line.
        run: that the block works on; it may not be there yet. None: the block plans it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        console.print(
            f"interrupted: {_committed(run)}; the same command {'begins anew' if run is None else 'goes on'}",
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED) from None


def leave_stopped(
    console: Console, signal_number: int, done: int, left: int, otherwise: int = STOPPED
) -> None:
    """Say that a call was stopped and what it left, and exit.

    Args:
        console: to say so.
        signal_number: that stopped it; 0 for something else.
        done: frames that the call has committed.
        left: frames that it was to do and did not.
        otherwise: exit code of what was not stopped by Ctrl-C.
    """
    console.print(
        f"stopped: {done} frames are committed, {left} are left; the same command goes on with them",
        soft_wrap=True,
    )
    raise typer.Exit(INTERRUPTED if signal_number == signal.SIGINT else otherwise)


def _committed(run: Path | str | None) -> str:
    if run is None:
        return "no frame was begun"
    from labelgen.core.errors import UserError
    from labelgen.shards import done_frames

    try:
        return f"{len(done_frames(run).done)} frames are committed in {run}"
    except (OSError, UserError):
        return "what is committed stays"
