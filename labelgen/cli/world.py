"""``labelgen world``: build the simulated city as a nuScenes dataroot."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from labelgen.cli.app import App
from labelgen.cli.console import PlainConsole, say
from labelgen.cli.options import Json, on_disk
from labelgen.cli.progress import step_progress
from labelgen.core.errors import UserError
from labelgen.core.wording import whole_number
from labelgen.demo.seeds import DEFAULT_SEED, split_of
from labelgen.inspection.fitting import make_table, show

app = App("The simulated city with exact truth.")


@app.callback()
def _group() -> None:
    """The simulated city with exact truth."""


@app.command()
def build(
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder to create; must be absent or empty.", show_default=False, callback=on_disk
        ),
    ],
    scenes: Annotated[int, typer.Option("--scenes", min=1, max=1000, help="Number of cities.")] = 2,
    frames: Annotated[
        int, typer.Option("--frames", min=1, max=1200, help="Keyframes per city, two a second.")
    ] = 4,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            max=2**31,
            help="Of the first city. Train 0..99999, val 100000..199999, test 200000..299999.",
        ),
    ] = DEFAULT_SEED,
    image_size: Annotated[str, typer.Option("--image-size", help="WIDTHxHEIGHT in pixels.")] = "1600x900",
    as_json: Json = False,
) -> None:
    """Build simulated scenes as a nuScenes dataroot that nuscenes-devkit reads.

    Example: `labelgen world build --out data/city --scenes 10 --frames 6`, then
    `labelgen run --dataset nuscenes --dataroot data/city`.
    """
    size = parse_size(image_size)
    # Compiled kernels load here and not with the command line.
    from labelgen.demo.world.categories import CLASSES
    from labelgen.demo.world.export import build as build_world

    begin = time.monotonic()
    with step_progress(PlainConsole(stderr=True), max(scenes, 0) * max(frames, 0), "world") as on_step:
        summary = build_world(out, scenes=scenes, frames=frames, seed=seed, image_size=size, progress=on_step)
    seconds = time.monotonic() - begin
    record = {
        "out": str(summary.out),
        "version": summary.version,
        "scenes": summary.scenes,
        "frames": summary.frames,
        "points": summary.points,
        "annotations": summary.annotations,
        "seeds": list(summary.seeds),
        "split": split_of(seed),
        "class_points": dict(zip(CLASSES, summary.class_points, strict=True)),
        "seconds": round(seconds, 2),
    }
    if as_json:
        typer.echo(json.dumps(record))
        return
    table = make_table(
        "class", "points", "share", title=f"{summary.scenes} scenes, {summary.frames} keyframes"
    )
    for name, count in zip(CLASSES, summary.class_points, strict=True):
        table.add_row(name, f"{count:,}", f"{100 * count / max(summary.points, 1):.2f} %")
    show(PlainConsole(), table)
    say(f"{summary.out}: NuScenes({summary.version!r}, dataroot), {seconds:.0f} s")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of ``WIDTHxHEIGHT``.

    Raises:
        UserError: not two whole numbers.
    """
    width, height = (whole_number(part) for part in text.lower().partition("x")[::2])
    if width is None or height is None:
        raise UserError(f"image size {text!r} is not WIDTHxHEIGHT; try 1600x900")
    return width, height
