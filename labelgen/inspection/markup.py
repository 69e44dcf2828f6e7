"""HTML in which every text is escaped unless it is HTML already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_VOID = ("img", "input", "link", "meta")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """One element: ``tag("p", "a < b", class_="note")``.

    Args:
        name: of the element.
        children: `Html` goes in as it is, anything else as escaped text; None is left out.
        attributes: escaped; ``class_`` stands for ``class``; True gives a bare attribute, None or False none.
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Put children one after another, escaped as in `tag`."""
    return Html("".join(c if isinstance(c, Html) else _text(c) for c in children if c is not None))


def table(columns: Sequence[str], rows: Iterable[Html]) -> Html:
    """A table; a ``#`` before a column's name says that it holds numbers."""
    head = (
        tag("th", name.removeprefix("#"), class_="number" if name.startswith("#") else None)
        for name in columns
    )
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return tag("div", table, class_="scroll")


def number(text: str) -> Html:
    """A cell of a table that holds a number."""
    return tag("td", text, class_="number")


def bar(share: float) -> Html:
    """A cell of a table that holds a bar; 1 fills it."""
    width = f"width: {100 * min(max(share, 0.0), 1.0):.1f}%"
    return tag("td", tag("i", style=width) if share > 0 else None, class_="bar")


def _text(value: Any) -> str:
    # Control characters have no business in HTML, whatever a file name or a message holds.
    return escape(
        "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    )
