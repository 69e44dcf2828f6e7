"""Command groups whose help is plain text: nothing in it is taken for markup, and no name is broken up."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])
_WIDEST = 100  # columns that are easy to read
_NAMES = 30  # columns of the longest name that has its text beside it


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of up to ``width`` columns, broken at blanks alone: names and paths stay as they are."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def described(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Lines of names with their texts, as a list of definitions."""
    rows = list(rows)
    beside = max((len(name) for name, _ in rows if len(name) <= _NAMES), default=0) + 4
    for name, text in rows:
        lines = wrapped(text, width, " " * beside) or [""]
        if len(name) <= _NAMES:
            lines[0] = f"  {name}".ljust(beside) + lines[0].strip()
        else:
            yield f"  {name}"
        yield from (line.rstrip() for line in lines)


def columns() -> int:
    """Columns that texts have: the terminal's, up to those that are easy to read."""
    return max(40, min(shutil.get_terminal_size().columns, _WIDEST))


def help_text(command: Any, ctx: Any) -> str:
    """What ``--help`` shows of a command or a group."""
    width = columns()
    usage = " ".join(command.collect_usage_pieces(ctx))
    lines = wrapped(f"Usage: {ctx.command_path} {usage}", width)
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += ["", *wrapped(paragraph, width, "  ")]
    params = [param for param in command.get_params(ctx) if param.get_help_record(ctx) is not None]
    sections = {
        "Arguments": [p.get_help_record(ctx) for p in params if p.param_type_name == "argument"],
        "Options": [p.get_help_record(ctx) for p in params if p.param_type_name != "argument"],
    }
    if isinstance(command, TyperGroup):
        inner = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        sections["Commands"] = [
            (name, _first_sentence(one)) for name, one in inner if one is not None and not one.hidden
        ]
    for title, rows in sections.items():
        if rows:
            lines += ["", f"{title}:", *described(rows, width)]
    return "\n".join(lines)


def _first_sentence(command: Any) -> str:
    first = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
    return first.partition(". ")[0].removesuffix(".")


class Command(TyperCommand):
    """A command with such a help."""

    def get_help(self, ctx: Any) -> str:
        """See `help_text`."""
        return help_text(self, ctx)


class Group(TyperGroup):
    """A group of commands with such a help."""

    def get_help(self, ctx: Any) -> str:
        """See `help_text`."""
        return help_text(self, ctx)


class App(typer.Typer):
    """A group of commands that shows its help if it is called without one."""

    def __init__(self, text: str, name: str | None = None) -> None:
        super().__init__(
            name=name,
            cls=Group,
            help=text,
            no_args_is_help=True,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Register a command; see `typer.Typer.command`."""
        return super().command(name, cls=Command, **settings)
