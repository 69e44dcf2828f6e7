"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

LOG_EVERY_S = 10.0


class Rate(ProgressColumn):
    """How many a second, over the last minutes."""

    def render(self, task: Task) -> Text:
        """Nothing until there is something to tell."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.2f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def frame_progress(console: Console, total: int, text: str = "frames") -> Iterator[Callable[[int], None]]:
    """Show how many of ``total`` are done; yields a function that adds to the count."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate())
        times = (TimeElapsedColumn(), TextColumn("left"), Remaining())
        # Models take their time: the rate of the last ten minutes, not of the last half.
        with Progress(*columns, *times, console=console, speed_estimate_period=600) as progress:
            task = progress.add_task(text, total=total)
            yield lambda count: progress.advance(task, count)
        return

    begin = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if count and (done >= total or now - last >= LOG_EVERY_S):
            last = now
            rate = done / max(now - begin, 1e-9)
            left = (total - done) / rate
            console.print(f"{text}: {done}/{total}, {rate:.2f}/s, {left:.0f} s left")

    yield advance


#: Makes a bar of so many frames with such a text: a function that adds to its count.
Bar = Callable[[int, str], Callable[[int], None]]


@contextmanager
def bars(console: Console) -> Iterator[Bar]:
    """Yields what makes bars, one after another: each is shown from when it is first told something."""
    with ExitStack() as shown:
        open_: dict[str, Callable[[int], None]] = {}

        def bar(total: int, text: str) -> Callable[[int], None]:
            def advance(count: int) -> None:
                if text not in open_:
                    shown.close()
                    open_.clear()
                    open_[text] = shown.enter_context(frame_progress(console, total, text))
                open_[text](count)

            return advance

        yield bar


@contextmanager
def step_progress(console: Console, total: int, text: str) -> Iterator[Callable[[int, int, str], None]]:
    """As `frame_progress`; yields a function that is told (how many are done, of how many, what was done)."""
    with frame_progress(console, total, text) as advance:
        reached = 0

        def on_step(done: int, total: int, what: str) -> None:
            nonlocal reached
            advance(done - reached)
            reached = done

        yield on_step
