import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from labelgen.inspection.fitting import make_table, show, tell

NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_/.", min_size=1, max_size=70)
PROSE = st.lists(st.text("abcdefghijklmnop", min_size=1, max_size=12), max_size=30).map(" ".join)


def lines(table, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(console, table)
    return console.file.getvalue().splitlines()


@given(st.lists(st.tuples(NAME, NAME, NAME, PROSE), min_size=1, max_size=4), st.integers(80, 200))
@example([("0", "0", "0" * 17, ""), ("0", "0" * 39, "_", "")], 80)  # a name, and no bar
def test_names_are_whole_and_lines_fit(rows, width):
    table = make_table("frame", "scene", "stage", "message", title="what failed")
    for row in rows:
        table.add_row(*row)
    shown = lines(table, width)
    assert all(len(line) <= width for line in shown)
    assert "…" not in "".join(shown)
    found = [word for line in shown for word in line.split()]
    for *names, message in rows:
        for text in (*names, *message.split()):
            assert text in found


def test_a_table_that_fits_is_a_table():
    table = make_table("from", "to", "points")
    table.add_row("car", "truck", "1,234")
    assert [line.split() for line in lines(table, 80) if line.strip(" ─")] == [
        ["from", "to", "points"],
        ["car", "truck", "1,234"],
    ]


@pytest.mark.parametrize("length", [10, 79, 200])
def test_a_path_in_prose_is_whole(length):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    path = "/" + "x" * length
    tell(console, f"cannot read {path}; mount it, and run the same command again to go on " * 2)
    shown = console.file.getvalue()
    assert shown.count(path) == 2
    assert all(len(line) <= 80 or path in line for line in shown.splitlines())
