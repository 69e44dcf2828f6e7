"""``labelgen verify``, ``index`` and ``compact``: is a run as it was written; its table; a tidy copy."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from labelgen.cli.console import PlainConsole
from labelgen.cli.options import Dataroot, Json, RunFolder
from labelgen.inspection.tables import plain
from labelgen.shards import Problem, build_index, read_index
from labelgen.shards import compact as compact_run
from labelgen.shards import verify as verify_run

app = typer.Typer(help="Check runs on disk.", no_args_is_help=True)


@app.command()
def verify(
    run: RunFolder,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every array and compare it with its checksum.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what killed processes left behind over an hour ago.")
    ] = False,
    dataroot: Dataroot = None,
    as_json: Json = False,
) -> None:
    """Compare a run with its manifests, and the raw files with what was labelled.

    Exits with 1 if data is damaged or missing, or raw files changed since.
    Leftovers of killed processes are listed too; they affect no reader and leave the exit code 0.

    Example: `labelgen verify runs/demo --deep`
    """
    problems = verify_run(run, deep=deep, clean=clean, dataroot=dataroot)
    ok = all(problem.harmless for problem in problems)
    if as_json:
        listed = [{"kind": p.kind, "where": p.where, "detail": p.detail} for p in problems]
        typer.echo(json.dumps({"ok": ok, "problems": listed}))
    else:
        _print(PlainConsole(), run, problems, ok)
    if not ok:
        raise typer.Exit(1)


@app.command()
def index(run: RunFolder, as_json: Json = False) -> None:
    """Rebuild index.parquet, the table of all frames, from the manifests.

    Example: `labelgen index runs/demo`
    """
    path = build_index(run)
    status = read_index(run)["status"].to_pylist()
    failed = status.count("failed")
    if as_json:
        typer.echo(json.dumps({"path": path, "frames": len(status) - failed, "failed": failed}))
    else:
        PlainConsole().print(f"{path}: {len(status) - failed} frames, {failed} failed")


@app.command()
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
    count = compact_run(run, out)
    if as_json:
        typer.echo(json.dumps({"path": out, "shards": count}))
    else:
        PlainConsole().print(f"{out}: {count} shards")


def _print(console: Console, run: str, problems: list[Problem], ok: bool) -> None:
    if problems:
        table = Table("problem", "where", "detail")
        for problem in problems:
            style = "dim" if problem.harmless else "red"
            table.add_row(plain(problem.kind, style), plain(problem.where), plain(problem.detail))
        console.print(table)
    if ok:
        console.print(f"{run}: as it was written")
    else:
        damaged = sum(not problem.harmless for problem in problems)
        console.print(f"{run}: {damaged} damaged; running the same job again redoes the frames concerned")
