import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.cli.console import PlainConsole, say
from labelgen.core.errors import FrameError, LabelgenError, UserError
from labelgen.core.wording import brief, one_line, printable
from labelgen.io.store import StoreError
from labelgen.shards.damage import DamageError

#: Clears the screen, sets the title, rings, writes from right to left, breaks the line, hides.
HOSTILE = "a\x1b[2J\x1b]0;owned\x07b\u202eevil\u2066\r\nc\x9b31m\u200b\u2028d\udc80"


@given(st.text())
def test_printable_is_printable_and_leaves_what_is(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    left = iter(printable(text))
    assert all(c in left for c in text if c.isprintable()), "what can be read stays, in its order"


@given(st.text(max_size=300), st.integers(20, 200))
def test_one_line_is_bounded_and_printable(text, most):
    line = one_line(text, most)
    assert line.isprintable()
    assert len(line) <= most


def test_a_long_message_keeps_its_ends():
    line = one_line("/data/a.bin: " + "x" * 10_000_000 + "; extract it again")
    assert line.startswith("/data/a.bin: xx")
    assert line.endswith("xx; extract it again")
    assert len(line) <= 1000


@pytest.mark.parametrize(
    "error",
    [
        UserError(HOSTILE * 100),
        FrameError(HOSTILE, frame_id=HOSTILE, path=HOSTILE * 100),
        DamageError("torn-shard", HOSTILE * 100, HOSTILE),
        StoreError(5, HOSTILE * 100, HOSTILE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_is_one_printable_line_here_and_after_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert isinstance(one, LabelgenError)
        assert str(one).isprintable()
        assert 0 < len(str(one)) <= 1000
    if isinstance(error, FrameError):
        assert again.message.isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_quoted_value_is_short_and_printable(value):
    assert brief(value).isprintable()
    assert len(brief(value)) <= 60 * 10 + 3


def test_a_number_of_a_million_digits_is_quoted_by_its_size():
    assert brief(1 << 4_000_000) == "a whole number of 4000001 bits"


def test_nothing_that_is_printed_commands_the_terminal(capsys):
    from rich.table import Table

    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    for stderr in (False, True):
        console = PlainConsole(stderr=stderr)
        for thing in (HOSTILE, f"[red]{HOSTILE}", table):
            console.print(thing)
    say(HOSTILE)
    for printed in capsys.readouterr():
        assert printed.replace("\n", "").isprintable()
        assert "[red]" in printed  # no markup either
