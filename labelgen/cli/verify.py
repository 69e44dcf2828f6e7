"""``labelgen verify``, ``index`` and ``compact``: is a run as it was written; its table; a tidy copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from labelgen.cli.console import PlainConsole, say
from labelgen.cli.options import Dataroot, Json, RunFolder
from labelgen.core.wording import one_line

if TYPE_CHECKING:
    from labelgen.shards import Problem


def verify(
    run: RunFolder,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every array and compare it with its checksum.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what killed processes left behind over an hour ago.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Set aside what is damaged; the job that made the run does it anew."),
    ] = False,
    dataroot: Dataroot = None,
    as_json: Json = False,
) -> None:
    """Compare a run with its manifests, and the raw files with what was labelled.

    Exits with 1 if data is damaged or missing, or raw files changed since, also if --repair has set it aside.
    Without --deep names and sizes of files are compared, and not what is in them.
    Leftovers of killed processes are listed too; they affect no reader and leave the exit code 0.

    Example: `labelgen verify runs/demo --deep`
    """
    from labelgen.shards import verify as verify_run

    problems = verify_run(run, deep=deep, clean=clean, repair=repair, dataroot=dataroot)
    ok = all(problem.harmless for problem in problems)
    if as_json:
        listed = [{"kind": p.kind, "where": p.where, "detail": p.detail} for p in problems]
        typer.echo(json.dumps({"ok": ok, "problems": listed}))
    else:
        _print(PlainConsole(soft_wrap=True), run, problems, deep=deep, repair=repair)
    if not ok:
        raise typer.Exit(1)


def index(run: RunFolder, as_json: Json = False) -> None:
    """Rebuild index.parquet, the table of all frames, from the manifests.

    Example: `labelgen index runs/demo`
    """
    from labelgen.shards import build_index, read_index

    path = build_index(run)
    status = read_index(run)["status"].to_pylist()
    failed = status.count("failed")
    if as_json:
        typer.echo(json.dumps({"path": path, "frames": len(status) - failed, "failed": failed}))
    else:
        say(f"{path}: {len(status) - failed} frames, {failed} failed")


def compact(
    run: RunFolder,
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or address of the copy; a new one.")],
    as_json: Json = False,
) -> None:
    """Copy a run in full shards, in the order of time, without what failed attempts left behind.

    A derived run and its parents become one; a run of an earlier format becomes one of the present. All
    values stay. The run itself is not touched.

    Example: `labelgen compact runs/demo runs/demo-compact`
    """
    from labelgen.shards import compact as compact_run

    count = compact_run(run, out)
    if as_json:
        typer.echo(json.dumps({"path": out, "shards": count}))
    else:
        say(f"{out}: {count} shards")


def _print(console: Console, run: str, problems: list[Problem], *, deep: bool, repair: bool) -> None:
    for problem in problems:  # no table: paths are to be copied, and have no room in one
        style = "dim" if problem.harmless else "red"
        console.print(f"{problem.kind}: {one_line(problem.where)}", style=style)
        console.print(f"  {one_line(problem.detail)}")
    how = "" if deep else " (sizes only: --deep compares all that is stored with its checksum)"
    damaged = [problem for problem in problems if not problem.harmless]
    if not damaged:
        console.print(f"{run}: as it was written{how}")
        return
    advice = ""
    if all(problem.heals for problem in damaged):
        advice = "; call the job that made the run again, and it does the frames concerned anew"
        advice += ", which are set aside now" if repair else " (--repair sets them aside at once)"
    console.print(f"{run}: {len(damaged)} damaged{how}{advice}")
