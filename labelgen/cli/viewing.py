"""``labelgen diff`` and ``labelgen view``: two runs side by side, one run in three dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from labelgen.cli.console import PlainConsole
from labelgen.cli.options import Dataroot, Json, RunFolder, on_disk
from labelgen.core.errors import UserError


def diff(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="Before.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="After.")],
    as_json: Json = False,
) -> None:
    """Show which labels changed between two runs of the same frames, by pair of classes.

    Example: `labelgen diff runs/demo runs/demo-revoted`
    """
    from labelgen.inspection.diff import diff_runs
    from labelgen.inspection.tables import render_diff
    from labelgen.runs import open_run

    content = diff_runs(open_run(run_a), open_run(run_b))
    if as_json:
        typer.echo(json.dumps(content))
    else:
        render_diff(PlainConsole(), content)


def view(
    run: RunFolder,
    frames: Annotated[
        str, typer.Option("--frames", help="BEGIN:END of the run's frames, or one frame's id.")
    ] = "0:20",
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write an .rrd file instead of opening the viewer.", callback=on_disk),
    ] = None,
    dataroot: Dataroot = None,
) -> None:
    """Look at a run in Rerun: points by label, confidence and truth, images with regions, a timeline.

    Examples: `labelgen view runs/demo`, `labelgen view runs/demo --frames 0:5 --save demo.rrd`
    """
    from labelgen.inspection.choose import find_frame
    from labelgen.inspection.viewer import view_run
    from labelgen.runs import open_run

    opened = open_run(run, dataroot)
    if ":" in frames:
        begin, _, end = frames.partition(":")
        try:
            chosen = opened.frames[int(begin or 0) : int(end) if end else None]
        except ValueError as error:
            raise UserError(f"--frames {frames!r}: expected BEGIN:END, such as 0:20") from error
    else:
        chosen = (find_frame(opened, frames),)
    if not chosen:
        raise UserError(f"--frames {frames} selects nothing of {len(opened)} frames")
    missing = view_run(opened, chosen, save)
    console = PlainConsole(stderr=True, soft_wrap=True)
    for line in dict.fromkeys(missing):
        console.print(f"left out: {line}", style="yellow")
    if save is not None:
        typer.echo(save)
