"""Ctrl-C in work that goes on where it was left: says what is committed, and ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from pipelines.drain import INTERRUPTED


@contextmanager
def interruptible(console: Console, run: Path | str) -> Iterator[None]:
    """While the block lasts, Ctrl-C ends the command with one line about a run; the next one at once.

    Args:
        console: for the line.
        run: that the block works on; it may not be there yet.
    """
    try:
        yield
    except KeyboardInterrupt:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        console.print(f"interrupted: {_committed(run)}; the same command goes on", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


def _committed(run: Path | str) -> str:
    from labelgen.errors import UserError
    from labelgen.shards import done_frames

    try:
        return f"{len(done_frames(run).done)} frames are committed in {run}"
    except (OSError, UserError):
        return "what is committed stays"
