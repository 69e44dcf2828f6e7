"""``labelgen models``: what models there are, fetching and checking them, training of the small ones."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from labelgen.cli.app import App
from labelgen.cli.console import PlainConsole
from labelgen.inspection.fitting import make_table, show

app = App("List and fetch models; train the small demo models.")


class Kind(StrEnum):
    """The small models."""

    sam = "sam"
    clip = "clip"
    blip2 = "blip2"


@app.callback()
def _group() -> None:
    """List and fetch models; train the small demo models."""


@app.command("list")
def list_command(
    weights: Annotated[Path, typer.Option("--weights", help="Folder of downloaded checkpoints.")] = Path(
        "weights"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Show every backend: revision, licence, and whether its weights are there, with their hash."""
    from labelgen.doctor.models import list_models

    entries = list_models(weights)
    if as_json:
        typer.echo(json.dumps({"models": [entry.to_dict() for entry in entries]}))
        return
    columns = ("stage", "backend", "model", "revision", "licence", "weights", "note")
    table = make_table(*columns, title="models", numbers=False, prose=("weights", "note"))
    for entry in entries:
        if entry.present is None:
            state = Text(f"fetched by the tag {entry.checkpoint}")
        elif not entry.present:
            state = Text.assemble(("missing", "yellow"), f" {entry.checkpoint}")
        elif not entry.weights:
            state = Text("none needed")
        else:
            state = Text.assemble(("there", "green"), f" {entry.weights[:12]}")
        table.add_row(
            entry.stage, entry.backend, entry.model, entry.revision, entry.licence, state, entry.note
        )
    show(PlainConsole(), table)


@app.command("prefetch")
def prefetch_command(
    config: Annotated[
        str, typer.Option("--config", help="Preset or file whose models are fetched.")
    ] = "nuscenes",
    override: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value, as for `labelgen run`.")
    ] = None,
) -> None:
    """Fetch the weights that a configuration names, and check them.

    Example: `labelgen models prefetch --config nuscenes`
    """
    from labelgen.config import load_config
    from labelgen.doctor.weights import fetch_models

    with PlainConsole(stderr=True).status("fetching") as status:
        fetch_models(
            load_config(config, override or []),
            lambda done, total: status.update(f"fetching: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB"),
        )
    doctor_command(config, override)


@app.command("doctor")
def doctor_command(
    config: Annotated[
        str, typer.Option("--config", help="Preset or file whose models are checked.")
    ] = "demo",
    override: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value, as for `labelgen run`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Load every model of a configuration and say what is wrong with it; exits with 1 if one cannot be used.

    Example: `labelgen models doctor --config nuscenes`
    """
    from labelgen.config import load_config
    from labelgen.doctor.weights import check_models

    checks = list(check_models(load_config(config, override or [])))
    if as_json:
        typer.echo(json.dumps({"models": [check.to_dict() for check in checks]}))
    else:
        columns = ("stage", "model", "licence", "weights", "fit", "note")
        table = make_table(*columns, title="models", numbers=False, prose=("note",))
        for check in checks:
            state = Text("yes", "green") if check.fit else Text("NO", "red")
            table.add_row(check.stage, check.name, check.licence, check.weights[:12], state, check.detail)
        show(PlainConsole(), table)
    if not all(check.fit for check in checks):
        raise typer.Exit(1)


@app.command("train-demo")
def train_demo_command(
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.01, max=10**5, help="Budget per model.")
    ] = 30.0,
    only: Annotated[
        Kind | None, typer.Option("--only", help="Train one of them. Default: all.", show_default=False)
    ] = None,
    work: Annotated[
        Path, typer.Option("--work", help="Rendered pictures, states and metrics; a second call goes on.")
    ] = Path("runs/train-demo"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the results. Default: the package itself.", show_default=False),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=3, max=10**6, help="Training pictures to render.")
    ] = 1200,
    first_city: Annotated[
        int, typer.Option("--first-city", min=0, max=2**31, help="Seed of the first city that they show.")
    ] = 0,
    warm_start: Annotated[bool, typer.Option("--warm-start", help="Start from the shipped weights.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="CPU threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Train the small SAM, CLIP and BLIP-2 on the simulated city's training seeds; measure them on others.

    Example: `labelgen models train-demo --minutes 30 --work runs/train-demo`
    """
    from labelgen.cli.progress import frame_progress
    from labelgen.demo.small_models.make import train_demo

    log = PlainConsole(stderr=True)
    kinds = [kind.value for kind in Kind if only in (None, kind)]
    with frame_progress(log, pictures, "training pictures") as advance:
        figures = train_demo(
            work,
            kinds,
            minutes=minutes,
            out=out,
            pictures=pictures,
            first_city=first_city,
            warm_start=warm_start,
            device=device,
            threads=threads,
            advance=lambda: advance(1),
            report=lambda line: log.print("  ".join(f"{k} {v:g}" for k, v in line.items())),
        )
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = make_table("model", "figure", "value", title="measured on validation seeds")
    for kind, values in figures.items():
        for name, value in values.items():
            table.add_row(kind, name, f"{value:g}")
    show(PlainConsole(), table)
