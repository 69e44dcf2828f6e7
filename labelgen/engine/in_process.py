"""The executor without Ray: this process, one unit of work after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from labelgen.engine.driver import Watch

U = TypeVar("U")
R = TypeVar("R")


def one_by_one(
    units: Iterable[U],
    watch: Watch,
    frames_of: Callable[[U], Sequence[str]],
    do: Callable[[U], R],
    do_alone: Callable[[U], R],
) -> Iterator[R]:
    """Do units, such as frames or scenes, until there are no more or the driver is told to stop.

    A unit that kills this process is done in one of its own by the next call, which finds out about it by
    what `Watch.mark` left; so is one, at once, that asks for more memory than there is.

    Args:
        units: what there is to do; the next one is asked for when it is its turn.
        watch: what to heed and to tell.
        frames_of: ids of a unit's frames.
        do: does a unit.
        do_alone: does it in a process of its own.

    Yields:
        What the units give.
    """
    coming = iter(units)
    while not watch.stop.is_set():
        try:
            unit = next(coming)
        except StopIteration:
            return
        names = frames_of(unit)
        watch.mark(names[0])
        if watch.suspects.isdisjoint(names):
            try:
                done = do(unit)
            except MemoryError:
                done = do_alone(unit)
        else:
            done = do_alone(unit)
        watch.mark("")
        yield done
