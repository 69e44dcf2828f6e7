"""Where commands write for people: text from files cannot send control codes to the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from labelgen.core.errors import UnusedSettingWarning
from labelgen.core.wording import printable


class PlainConsole(Console):
    """A console that takes texts as they are, without markup, and escapes what a terminal would obey.

    Emphasis is given by ``style`` or by Rich's `Text`.

    Args:
        stderr: write there instead of to stdout.
        soft_wrap: leave it to the terminal to break lines.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Turn something into segments, all of them printable; called by `print` for all that it is given."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.replace("\n", "").isprintable():
                yield segment
            else:
                lines = "\n".join(map(printable, segment.text.split("\n")))
                yield Segment(lines, segment.style)


def complain(console: Console, word: str, message: str, style: str = "bold red") -> None:
    """Print ``word: message``, the word in its colour: "error", "warning"."""
    console.print(Text.assemble((f"{word}:", style), f" {message}"), soft_wrap=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Say once, as a line of ours, which settings have no effect; other warnings are Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UnusedSettingWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, UnusedSettingWarning):
                complain(PlainConsole(stderr=True), "warning", str(message), "bold yellow")
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield


def say(line: Any, *, err: bool = False) -> None:
    """Print one line that others may read with a program: as it is, but printable."""
    typer.echo(printable(str(line)), err=err)
