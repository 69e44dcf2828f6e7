"""docs/checks.md names every check as it is registered: the table below `table` is the page's."""

from __future__ import annotations

from pathlib import Path

from labelgen.datasets.checks import CHECKS
from labelgen.inspection import verdict  # noqa: F401 - registers the checks of runs

PAGE = Path(__file__).parents[3] / "docs" / "checks.md"


def table() -> str:
    """All checks by name, as lines of Markdown."""
    rows = [
        f"| `{one.name}` | {one.subject} | {'stops' if one.refuse else 'warns'} | {one.about} |"
        for one in sorted(CHECKS.values(), key=lambda one: one.name)
    ]
    return "\n".join(["| check | looks at | verdict | finds |", "| --- | --- | --- | --- |", *rows]) + "\n"


def test_the_page_holds_all_checks():
    text = PAGE.read_text()
    assert text[text.index("| check |") :] == table(), f"the page has to end with:\n{table()}"
