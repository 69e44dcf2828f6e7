"""``labelgen datasets``: which data sets can be read, and whether one is read as it should be."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from labelgen.cli.app import App, columns, described
from labelgen.cli.console import PlainConsole
from labelgen.cli.options import Allow, Json
from labelgen.core.errors import UserError

app = App("The data sets that can be read.")


@app.callback()
def _group() -> None:
    """The data sets that can be read."""


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Name the readers, and what each takes as its data root.

    Example: `labelgen datasets list`
    """
    from labelgen.datasets import DATASETS

    readers = DATASETS.about()
    if as_json:
        typer.echo(json.dumps(readers))
        return
    typer.echo("\n".join(described(readers.items(), columns())))


@app.command("checks")
def checks_(as_json: Json = False) -> None:
    """Name the checks of data and labels; `--allow NAME` skips one.

    Example: `labelgen datasets checks`
    """
    from labelgen.datasets.checks import CHECKS
    from labelgen.inspection import verdict  # noqa: F401 - registers the checks of runs

    rows = [
        {"name": one.name, "refuses": one.refuse, "looks_at": one.subject, "about": one.about}
        for one in sorted(CHECKS.values(), key=lambda one: one.name)
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    shown = [(f"{row['name']} ({'stops' if row['refuses'] else 'warns'})", str(row["about"])) for row in rows]
    typer.echo("\n".join(described(shown, columns())))


@app.command()
def check(
    dataset: Annotated[str, typer.Option("--dataset", help="One of `labelgen datasets list`.")],
    dataroot: Annotated[
        Path, typer.Option("--dataroot", help="Its folder, or a frames.parquet.", show_default=False)
    ],
    version: Annotated[str, typer.Option("--version", help="Version of the tables.")] = "",
    split: Annotated[
        str, typer.Option("--split", help="Split, such as train, or scene names separated by commas.")
    ] = "",
    count: Annotated[
        int, typer.Option("--frames", min=1, max=10**6, help="Number of frames to read, spread over all.")
    ] = 5,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for pictures of the points in the images.", show_default=False),
    ] = None,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Read a data set as a run would, project some frames' points into their images, and draw them.

    Exits with 1 if something looks wrong: files that cannot be read, truth of another length, and
    everything that `labelgen datasets checks` names. Use --out to see for yourself whether points lie on the
    objects that they belong to.

    Example: `labelgen datasets check --dataset manifest --dataroot /data/mine --out check`
    """
    from PIL import Image

    from labelgen.datasets import plan_frames
    from labelgen.datasets.checks import PlanInput, check_names, check_plan
    from labelgen.inspection.dataset_check import draw_points, look_at_frame

    passed = check_names(allow or ())
    frames, info = plan_frames(dataset, dataroot, version, split)
    problems = [str(finding) for finding in check_plan(PlanInput(Path(info.dataroot), frames, info), passed)]
    step = max(1, len(frames) // count)
    checks: list[dict[str, Any]] = []
    for frame in frames[::step][:count]:
        found, views, images = look_at_frame(Path(info.dataroot), frame, info, allow=passed)
        entry = asdict(found)
        if out is not None and views is not None and frame.cameras:
            path = out / f"{frame.frame_id}.jpg"
            try:
                out.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw_points(frame, views, images)).save(path, quality=90)
            except OSError as error:
                raise UserError(f"cannot write {path}: {error.strerror or error}") from error
            entry["picture"] = str(path)
        checks.append(entry)

    told = {problem for entry in checks for problem in entry["problems"]}
    problems = [problem for problem in problems if problem not in told]
    everything = [*problems, *(problem for entry in checks for problem in entry["problems"])]
    if as_json:
        summary = {"frames": len(frames), "scenes": len({f.scene_id for f in frames}), "problems": problems}
        typer.echo(json.dumps({**summary, "checked": checks}))
    else:
        _render(PlainConsole(soft_wrap=True), len(frames), checks, problems)
    if everything:
        raise typer.Exit(1)


def _render(console: Console, frames: int, checks: list[dict[str, Any]], problems: list[str]) -> None:
    from labelgen.inspection.tables import plain

    console.print(f"{frames} frames; {len(checks)} of them read")
    for entry in checks:
        head = f"{entry['frame_id']}: {entry['points']:,} points, {entry['finite']:,} finite"
        console.print(plain(head))
        for name, camera in entry["cameras"].items():
            line = f"  {name}: {camera['points']:,} points, {camera['visible']:,} visible"
            console.print(plain(f"{line}, fired {camera['seconds']:+.3f} s from the sweep"))
        if "picture" in entry:
            console.print(plain(f"  {entry['picture']}"))
        for problem in entry["problems"]:
            console.print(plain(f"  problem: {problem}", "bold red"))
    for problem in problems:
        console.print(plain(f"problem: {problem}", "bold red"))
    if not problems and not any(entry["problems"] for entry in checks):
        console.print("nothing looks wrong")
