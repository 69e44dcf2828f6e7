"""``labelgen inspect``, ``evaluate`` and ``report``: look at a run, score it, write it up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from labelgen.errors import UserError
from labelgen.inspection.report import Picture, write_report
from labelgen.inspection.sources import RunSources
from labelgen.inspection.summary import render_evaluation, render_summary, summarise_run
from labelgen.inspection.tables import plain
from labelgen.shards import Run, open_run

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Dataroot = Annotated[
    Path | None,
    typer.Option(
        "--dataroot", help="Where the raw files are now. Default: where they were.", show_default=False
    ),
]

_MOST_WARNINGS = 8


def inspect(
    run: RunFolder,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame", help="Draw one frame: its id, the beginning of its id, or its number from 0."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The picture, PNG. Default: RUN/report/FRAME_ID.png.")
    ] = None,
    dataroot: Dataroot = None,
    width: Annotated[int, typer.Option("--width", min=480, max=10000, help="Of the picture, pixels.")] = 2400,
    as_json: Json = False,
) -> None:
    """Show what a run holds, or draw one of its frames.

    Without `--frame`: frames, classes, coverage, confidence, failures. With it: one PNG with all cameras,
    the bird's-eye view and the truth where there is one; files that are not there are left out.

    Examples: `labelgen inspect runs/demo`, `labelgen inspect runs/demo --json`,
    `labelgen inspect runs/demo --frame 0 --out frame.png`
    """
    opened = open_run(run)
    if frame is None:
        if out is not None:
            raise UserError("--out needs --frame: which frame is to be drawn?")
        summary = summarise_run(opened)
        if as_json:
            _print_json(summary)
        else:
            render_summary(Console(), summary)
        return
    frame_id = find_frame(opened, frame)
    sources = RunSources(opened, dataroot)
    # Ids in the plan are checked to be safe in file names; those of a shard are not.
    path = out or run / "report" / f"{sources.frame(frame_id).frame_id}.png"
    picture, missing = sources.picture(frame_id, width)
    _save_png(picture, path)
    if as_json:
        _print_json({"frame_id": frame_id, "picture": str(path), "missing": missing})
        return
    _warn(missing)
    Console(soft_wrap=True).print(plain(path), highlight=False)


def evaluate(run: RunFolder, dataroot: Dataroot = None, as_json: Json = False) -> None:
    """Score a run against the data set's truth: mIoU, IoU of every class, coverage.

    Failed frames count, with all their points unlabelled.

    Examples: `labelgen evaluate runs/demo`,
    `labelgen evaluate runs/nuscenes-v1.0-trainval-val --dataroot /data/nuscenes --json`
    """
    result = RunSources(open_run(run), dataroot).evaluate()
    if as_json:
        _print_json(result)
    else:
        render_evaluation(Console(), result)


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for index.html. Default: RUN/report.", show_default=False),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, max=100, help="Frames to draw, spread over the run.")
    ] = 6,
    dataroot: Dataroot = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page about a run, complete in itself: send it, open it without a network.

    It holds the numbers of `inspect` and, where the data set has truth, those of `evaluate`; the time each
    stage took, failures, the models with their licences, and pictures.

    Example: `labelgen report runs/demo`
    """
    opened = open_run(run)
    sources = RunSources(opened, dataroot)
    missing: list[str] = []
    evaluation = None
    try:
        evaluation = sources.evaluate() if sources.has_truth else None
    except UserError as error:
        missing.append(f"no scores: {error}")
    drawn = _draw(sources, spread(opened.frames, pictures), missing)
    page = write_report(opened, out or run / "report", drawn, evaluation)
    if as_json:
        _print_json({"report": str(page), "missing": missing})
        return
    _warn(missing)
    Console(soft_wrap=True).print(plain(page), highlight=False)


def find_frame(run: Run, wanted: str) -> str:
    """A frame's id from its id, its number in the order of the run, or the beginning of its id.

    Raises:
        UserError: no such frame, or several.
    """
    if wanted in run or wanted in run.failures:
        return run.entry(wanted).frame_id  # tells of a failed frame why it failed
    if wanted.isdecimal() and int(wanted) < len(run):
        return run.frames[int(wanted)]
    found = [frame_id for frame_id in run.frames if wanted and frame_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise UserError(f"{len(found)} frames begin with {wanted!r} ({some}); give more of the id")
    failed = [frame_id for frame_id in run.failures if wanted and frame_id.startswith(wanted)]
    if len(failed) == 1:
        run.entry(failed[0])
    raise UserError(
        f"{run.path} has no frame {wanted!r}; there are {len(run)}: number 0 to {len(run) - 1}"
        + (f", the first is {run.frames[0]}" if run.frames else "")
    )


def spread(frames: tuple[str, ...], count: int) -> list[str]:
    """At most ``count`` of the frames, evenly spread, the first and the last among them."""
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [frames[k] for k in chosen]


def _draw(sources: RunSources, frame_ids: list[str], missing: list[str]) -> Iterator[Picture]:
    for frame_id in frame_ids:
        entry = sources.run.entry(frame_id)
        picture, absent = sources.picture(frame_id, width=1800)
        missing.extend(absent)
        share = entry.labelled / max(entry.num_points, 1)
        yield (
            f"frame {frame_id}, scene {entry.scene_id}: {share:.1%} of {entry.num_points:,} points labelled",
            picture,
        )


def _save_png(picture: NDArray[np.uint8], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, "PNG", compress_level=4)
    except OSError as error:
        raise UserError(f"cannot write the picture {path}: {error.strerror or error}") from error


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content))


def _warn(missing: list[str]) -> None:
    console = Console(stderr=True, soft_wrap=True)
    missing = list(dict.fromkeys(missing))
    if len(missing) > _MOST_WARNINGS:
        missing[_MOST_WARNINGS:] = [f"{len(missing) - _MOST_WARNINGS} more files; --json lists all"]
    for line in missing:
        console.print(plain(f"left out: {line}", "yellow"), highlight=False)
