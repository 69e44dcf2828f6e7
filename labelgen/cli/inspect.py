"""``labelgen inspect``, ``evaluate`` and ``report``: look at a run, score it, write it up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from labelgen.cli.console import PlainConsole
from labelgen.cli.options import Dataroot, Json, RunFolder
from labelgen.cli.progress import frame_progress
from labelgen.core.errors import UserError

if TYPE_CHECKING:
    from labelgen.runs import Run

_MOST_WARNINGS = 8

ClassSplitName = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="Tell base and novel classes apart in panoptic scores: nuscenes-b12n4, nuscenes-b11n5, "
        "semantickitti-b14n5, or a YAML file.",
        show_default=False,
    ),
]


def inspect(
    run: RunFolder,
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame", help="Draw one frame: its id, the beginning of its id, or its number from 0."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="The picture, PNG. Default: RUN/report/FRAME_ID.png.")
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Count what went wrong, by stage and type.")
    ] = False,
    worst: Annotated[
        int | None,
        typer.Option(
            "--worst", min=1, max=10**6, help="List this many frames with the lowest mIoU, or confidence."
        ),
    ] = None,
    dataroot: Dataroot = None,
    width: Annotated[
        int, typer.Option("--width", min=480, max=10000, help="Width of the picture, pixels.")
    ] = 2400,
    as_json: Json = False,
) -> None:
    """Show what a run holds, what went wrong, which frames are worst, or draw one of its frames.

    Without `--frame`: frames, classes, coverage, confidence, failures. With it: one PNG with all cameras,
    the bird's-eye view and the truth where there is one; files that are not there are left out. How many
    instances of which class it has, and captions of its regions, are told on stderr; with `--json` among the
    rest.

    Examples: `labelgen inspect runs/demo`, `labelgen inspect runs/demo --json`,
    `labelgen inspect runs/demo --frame 0 --out frame.png`, `labelgen inspect runs/demo --worst 10`
    """
    from labelgen.inspection.captions import captions_of, render_captions
    from labelgen.inspection.choose import find_frame
    from labelgen.inspection.failures import count_errors
    from labelgen.inspection.instances import count_instances, render_instances
    from labelgen.inspection.summary import render_summary, summarise_run
    from labelgen.inspection.tables import render_errors, render_worst
    from labelgen.runs import open_run

    opened = open_run(run, dataroot)
    if sum((frame is not None, errors, worst is not None)) > 1:
        raise UserError("--frame, --errors and --worst cannot be combined; give one at a time")
    if errors:
        _show(count_errors(opened), as_json, render_errors)
        return
    if worst is not None:
        from labelgen.inspection.worst import worst_of

        _show(worst_of(opened, worst), as_json, render_worst)
        return
    if frame is None:
        if out is not None:
            raise UserError("--out needs --frame, the frame to draw")
        summary = summarise_run(opened)
        if as_json:
            _print_json(summary)
        else:
            render_summary(PlainConsole(), summary)
        return
    from labelgen.inspection.picture import save_picture

    frame_id = find_frame(opened, frame)
    drawn = opened.frame(frame_id)
    # Ids in the plan are checked to be safe in file names; those of a shard are not.
    path = out or f"{opened.url}/report/{drawn.planned.frame_id}.png"
    missing = save_picture(drawn, path, width)
    told = captions_of(opened, frame_id)
    counts = count_instances(drawn.labels, opened.taxonomy)
    if not as_json:
        render_instances(PlainConsole(stderr=True), counts)
        render_captions(PlainConsole(stderr=True), told)
    _announce("picture", path, missing, as_json, frame_id=frame_id, instances=counts, captions=told)


def evaluate(
    run: RunFolder,
    dataroot: Dataroot = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Compute mIoU as devkit, semantickitti or slidr does. Default: over labelled points.",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Write how confidence relates to accuracy to a file, for `labelgen refine --calibration`.",
            show_default=False,
        ),
    ] = None,
    classes: ClassSplitName = None,
    ladder: Annotated[
        bool,
        typer.Option(
            "--ladder",
            help="Show where quality is lost: replace each stage in turn by the simulated city's truth.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a run against the data set's truth: mIoU, IoU of every class, coverage, and how mIoU is computed.

    Also by range, number of cameras and visibility; accuracy by tenths of confidence and calibration error;
    panoptic quality of things, stuff, base and novel classes, where labels and truth have instances. Failed
    frames count, with all their points unlabelled. The ladder runs the semantic encoder again, on true masks:
    seconds per frame. It is kept, for `labelgen report` to show.

    Examples: `labelgen evaluate runs/demo`, `labelgen evaluate runs/demo --ladder`,
    `labelgen evaluate runs/demo-predicted --classes nuscenes-b12n4`,
    `labelgen evaluate runs/nuscenes-v1.0-trainval-val --dataroot /data/nuscenes --protocol devkit --json`
    """
    import numpy as np

    from labelgen.inspection.evaluation import evaluate as evaluate_run
    from labelgen.inspection.summary import render_evaluation
    from labelgen.labels.calibrate import fit
    from labelgen.metrics import PROTOCOLS
    from labelgen.runs import open_run

    if protocol is not None and protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")

    opened = open_run(run, dataroot)
    if ladder:
        _climb(opened, as_json)
        return
    result = evaluate_run(opened, classes)
    if protocol is not None:
        chosen = result["protocols"][protocol]
        if chosen["miou"] is None and result["points"]:
            raise UserError(f"{PROTOCOLS[protocol]}; coverage is {result['coverage']:.1%}: choose another")
        result |= {"protocol": protocol, "miou": chosen["miou"], "iou": chosen["iou"]}
    levels = [np.array(result["confidence"].pop(key), np.int64) for key in ("counts", "right")]
    if calibrate is not None:
        fit(*levels).save(calibrate)
    if as_json:
        _print_json(result)
    else:
        render_evaluation(PlainConsole(), result)


def _climb(run: Run, as_json: bool) -> None:
    from labelgen.demo.ladder import RUNGS, climb
    from labelgen.inspection.ladder import keep_ladder
    from labelgen.inspection.tables import render_ladder

    while run.parent is not None:
        run = run.parent
    with frame_progress(PlainConsole(stderr=True), len(run), "ladder") as advance:
        rungs = climb(run, advance)
    keep_ladder(run, rungs, RUNGS)
    if as_json:
        _print_json({"run": run.url, "ladder": rungs})
    else:
        render_ladder(PlainConsole(), rungs, RUNGS)


def report(
    run: RunFolder,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Folder for index.html. Default: RUN/report.", show_default=False),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, max=100, help="Number of frames to draw, the worst ones.")
    ] = 20,
    classes: ClassSplitName = None,
    dataroot: Dataroot = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page about a run, complete in itself: send it, open it without a network.

    It holds the numbers of `inspect` and, where the data set has truth, those of `evaluate`; the time each
    stage took, failures, the models with their licences, pictures of the worst frames, and the worst one's
    points to be turned in space.

    Example: `labelgen report runs/demo`
    """
    from labelgen.inspection.reporting import report_run
    from labelgen.runs import open_run

    opened = open_run(run, dataroot)
    page, missing = report_run(opened, out or f"{opened.url}/report", pictures, classes=classes)
    _announce("report", page, missing, as_json)


def _show(content: Any, as_json: bool, render: Callable[[Console, Any], None]) -> None:
    if as_json:
        _print_json(content)
    else:
        render(PlainConsole(), content)


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content))


def _announce(what: str, path: str, missing: list[str], as_json: bool, **more: Any) -> None:
    """Say where a file was written, on stdout, and what it lacks, on stderr."""
    from labelgen.inspection.tables import plain

    if as_json:
        _print_json({**more, what: path, "missing": missing})
        return
    missing = list(dict.fromkeys(missing))
    if len(missing) > _MOST_WARNINGS:
        missing[_MOST_WARNINGS:] = [f"{len(missing) - _MOST_WARNINGS} more; --json lists all"]
    console = PlainConsole(stderr=True, soft_wrap=True)
    for line in missing:
        console.print(plain(f"left out: {line}", "yellow"))
    typer.echo(path)
