"""``labelgen export`` and ``labelgen import``: runs for other tools, and other tools' labels as runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from labelgen.cli.console import say
from labelgen.cli.options import Dataroot, Json, RunFolder, on_disk


def export(
    run: RunFolder,
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="lidarseg-overlay, nuscenes-lidarseg, nuscenes-panoptic, semantickitti, slidr, seal, "
            "superflow, limoe, uov, openscene, scalr, or another package's.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="A new folder; scalr: or that of its other split.", callback=on_disk)
    ],
    dataroot: Dataroot = None,
    fill: Annotated[
        str,
        typer.Option("--fill", help="For unlabelled points, in submissions: refuse, nearest, or a class."),
    ] = "refuse",
    split: Annotated[str, typer.Option("--split", help="Split that a submission is named after.")] = "val",
    task: Annotated[str, typer.Option("--task", help="Panoptic: segmentation or tracking.")] = "segmentation",
    as_json: Json = False,
) -> None:
    """Write a run in another tool's format, into a new folder; nothing is written over anything.

    Examples: `labelgen export runs/demo --format lidarseg-overlay --out data/demo-pseudo`,
    `labelgen export runs/demo --format nuscenes-lidarseg --fill nearest --split mini_val --out results`
    """
    from labelgen import api

    done = api.export(run, format_name, out, dataroot=dataroot, fill=fill, split=split, task=task)
    if as_json:
        typer.echo(json.dumps(done))
    else:
        text = f"{done['path']}: {done['frames']} frames, {done['files']} files"
        say(text)


def import_(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Folder of *_lidarseg.bin files.", callback=on_disk)
    ],
    out: Annotated[str, typer.Option("--out", help="Folder or address of the run.")],
    plan: Annotated[str, typer.Option("--plan", help="frames.parquet of the frames, such as another run's.")],
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="Taxonomy: name or file.")] = "nuscenes16",
    ids: Annotated[
        str, typer.Option("--ids", help="What the files hold: dataset (general ids) or challenge (1..16).")
    ] = "dataset",
    as_json: Json = False,
) -> None:
    """Make a run of another tool's labels, to be evaluated and compared like any other.

    Example: `labelgen import results --ids challenge --plan runs/demo/frames.parquet --out runs/other`
    """
    from labelgen import api

    labelled, failed = api.import_labels(labels, out, plan, taxonomy=taxonomy, ids=ids)
    if as_json:
        typer.echo(json.dumps({"path": out, "frames": labelled, "failed": failed}))
    else:
        say(f"{out}: {labelled} frames, {failed} failed")
