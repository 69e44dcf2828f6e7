"""Tables that cut no name: where a console is too narrow for one, its rows are printed as lines."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

#: Headings of columns whose texts may be broken at blanks, if nothing else is said.
PROSE = ("", "message", "note", "detail", "caption")


def make_table(
    *columns: str, title: str | None = None, numbers: bool = True, prose: Collection[str] = PROSE
) -> Table:
    """A table without rows.

    Args:
        columns: headings.
        title: above it.
        numbers: columns after the first stand to the right, unless they are prose.
        prose: headings of columns whose texts may be broken at blanks; the others hold names and numbers.
    """
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        justify: Any = "right" if numbers and number and name not in prose else "left"
        names = name not in prose or (number == 0 and not name)
        table.add_column(name, justify=justify, no_wrap=names, overflow="fold")
    return table


def tell(console: Console, text: str, style: str = "", indent: str = "  ") -> None:
    """Print prose, broken at blanks alone."""
    for line in _broken(text, console.width, indent, indent):
        console.print(Text(line, style), soft_wrap=True)


def show(console: Console, table: Table) -> None:
    """Print a table whole, or, if its names and the longest words of its prose do not fit, row by row.

    Args:
        console: whose width counts.
        table: of texts. Bars, in columns without a heading, are left out of rows that are printed as lines.
    """
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(Text(_plain(cell)).cell_len for cell in (column.header, *column.cells))
    unbounded = console.options.update(width=100_000)
    if Measurement.get(console, unbounded, table).minimum <= console.width:
        console.print(table)
        return
    console.print()
    if table.title:
        console.print(Text(_plain(table.title), "bold"), soft_wrap=True)
    heads = [_plain(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        for line in _as_lines(heads, [_plain(cell) for cell in cells], console.width):
            console.print(Text(line), soft_wrap=True)


def _as_lines(heads: list[str], cells: list[str], width: int) -> Iterator[str]:
    """The first cell on a line of its own, the others with their headings below, as many on a line as fit."""
    yield f"  {cells[0]}"
    line = ""
    for head, cell in zip(heads[1:], cells[1:], strict=True):
        if not cell.strip() or not (head or any(c.isalnum() for c in cell)):  # nothing there, or a bar
            continue
        part = f"{head} {cell}".strip()
        if line and len(line) + 3 + len(part) <= width:
            line += f"   {part}"
            continue
        if line:
            yield line
        *whole, line = _broken(part, width, "    ", "      ")
        yield from whole
    if line:
        yield line


def _broken(text: str, width: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
