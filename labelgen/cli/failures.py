"""What commands report when some frames failed: one line, and exit code 1."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from labelgen.cli.console import complain

RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try failed frames again.")]
MaxFailed = Annotated[
    float, typer.Option("--max-failed-fraction", min=0, max=1, help="Share of frames that may fail.")
]


def answer_for_failures(console: Console, run: str, failed: float, allowed: float) -> None:
    """Exit with 1 if more of the frames failed than may.

    Args:
        console: to say so.
        run: where they are listed.
        failed: share of the frames that were asked for, those of earlier calls included.
        allowed: `MaxFailed`.
    """
    if failed > allowed:
        from labelgen.runs import open_run

        first = next(iter(open_run(run).failures.values()))
        complain(
            console,
            "error",
            f"{failed:.1%} of the frames failed, {allowed:.1%} are allowed (--max-failed-fraction); "
            f"the first: {first.message}; `labelgen inspect {run}` lists them",
        )
        raise typer.Exit(1)
