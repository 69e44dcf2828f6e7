"""Words for people: printable, on one line and of bounded length, whatever a file put into them."""

from __future__ import annotations

from typing import Any

from labelgen.core.redact import redact

#: Characters of the longest line.
LONGEST = 1000
_MARK = " … "


def printable(text: str) -> str:
    r"""The text with all that a terminal would obey or hide as in a Python literal: ``\x1b``, ``\u202e``.

    Terminal commands, line breaks, marks of writing direction and invisible characters, that is; nothing of
    what can be read changes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: object, most: int = LONGEST) -> str:
    """A message as it may be shown: printable, blanks and line breaks as one blank, the middle left out.

    Of a long one, that is: its beginning names the file and its end says what to do. Credentials are taken
    out.

    Args:
        text: a message, or what becomes one by ``str``.
        most: characters that it may have.
    """
    whole = str(text)
    if len(whole) > 8 * most:  # of a text of any size only the ends are worked on
        whole = whole[: 4 * most] + _MARK + whole[-4 * most :]
    line = printable(" ".join(redact(whole).split()))
    if len(line) <= most:
        return line
    tail = most // 4
    return line[: most - tail - len(_MARK)] + _MARK + line[-tail:]


def whole_number(text: str) -> int | None:
    """The number that a text is: up to fifteen decimal digits and nothing else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def brief(value: Any, most: int = 60) -> str:
    """A value that somebody gave, as a message quotes it: of a long one a part, of a container the kind.

    Args:
        value: anything.
        most: characters of a text.
    """
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[:most] + "…")
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    kinds = {dict: "a mapping", list: "a list", tuple: "a list", set: "a set", bytes: "bytes"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), type(value).__name__)
