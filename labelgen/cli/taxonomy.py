"""``labelgen taxonomy``: what taxonomies there are, what is wrong with one, and a run's labels by another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelgen.cli.app import App
from labelgen.cli.console import PlainConsole
from labelgen.cli.derive import Asked, Output, Ray, Scenes, carry_out
from labelgen.cli.failures import MaxFailed, RetryFailed
from labelgen.cli.options import Json, RunFolder
from labelgen.core.errors import UserError
from labelgen.inspection.fitting import make_table, show, tell

if TYPE_CHECKING:
    from labelgen.core.taxonomy_source import Finding
    from labelgen.semantics.taxonomy_lint import Tables

app = App("Taxonomies: classes, and the open words that describe them to a text encoder.")
Name = Annotated[str, typer.Argument(metavar="TAXONOMY", help="Name or YAML file.", show_default=False)]
Config = Annotated[
    str | None,
    typer.Option("--config", help="Preset or file whose text encoder reads the words.", show_default=False),
]
#: Findings of one kind that are printed; --json has all.
_MOST = 12


@app.callback()
def _group() -> None:
    """Taxonomies: classes, and the open words that describe them to a text encoder."""


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """Show the taxonomies that are shipped.

    Example: `labelgen taxonomy list`
    """
    from labelgen.core.taxonomy import load_taxonomy
    from labelgen.core.taxonomy_source import shipped_names

    rows = []
    for name in shipped_names():
        taxonomy = load_taxonomy(name)
        words = sum(len(spec.words) for spec in taxonomy.classes)
        rows.append(
            {
                "name": name,
                "version": taxonomy.version,
                "classes": len(taxonomy),
                "words": words,
                "void": len(taxonomy.void),
                "templates": len(taxonomy.templates),
            }
        )
    if as_json:
        typer.echo(json.dumps({"taxonomies": rows}))
        return
    table = make_table(*rows[0], title="taxonomies")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    show(PlainConsole(), table)


@app.command("show")
def show_command(taxonomy: Name, as_json: Json = False) -> None:
    """Show a taxonomy's classes with their words.

    Example: `labelgen taxonomy show nuscenes16-uov`
    """
    from rich.text import Text

    from labelgen.core.taxonomy import load_taxonomy

    found = load_taxonomy(taxonomy)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    title = f"{found.name}, version {found.version}"
    table = make_table("id", "class", "", "words", title=title, numbers=False, prose=("words",))
    for spec in found.classes:
        name = Text(spec.name, f"rgb({','.join(map(str, spec.color))})")
        table.add_row(str(spec.id), name, "thing" if spec.thing else "stuff", Text(", ".join(spec.words)))
    table.add_row("", Text("void", "dim"), "", Text(", ".join(found.void)))
    console = PlainConsole()
    show(console, table)
    tell(console, "templates: " + "; ".join(found.templates))


@app.command("lint")
def lint_command(
    taxonomy: Name,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Run whose text encoder reads the words.", show_default=False),
    ] = None,
    config: Config = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", help="Data set whose tables are compared, with --dataroot.", show_default=False
        ),
    ] = None,
    dataroot: Annotated[
        Path | None,
        typer.Option(
            "--dataroot",
            help="Read its tables. Default: the published ones of the set that fits.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", help="Version of the data set, with --dataroot.", show_default=False),
    ] = None,
    near: Annotated[
        float,
        typer.Option("--near", min=0, max=1, help="Cosine from which two words count as near-duplicates."),
    ] = 0.97,
    as_json: Json = False,
) -> None:
    """Find what is wrong with a taxonomy, with file and line; exits with 1 if it cannot be used as it is.

    Words in two classes, classes without words, ids and categories that contradict the data set's tables;
    and, with --run or --config, words of different classes that are nearly the same to the text encoder, and
    words that it cannot read in full.

    Examples: `labelgen taxonomy lint my.yaml`, `labelgen taxonomy lint my.yaml --run runs/nuscenes`,
    `labelgen taxonomy lint my.yaml --dataset nuscenes --dataroot /data/nuscenes --version v1.0-mini`
    """
    from labelgen.core.taxonomy_source import read_source
    from labelgen.semantics.taxonomy_lint import lint, published_tables

    if run is not None and config is not None:
        raise UserError("--run and --config both name a text encoder; give one")
    if (dataroot is None) != (dataset is None):
        raise UserError("--dataset and --dataroot go together")
    source = read_source(taxonomy)
    tables = published_tables()
    if dataroot is not None and dataset is not None:
        tables = (_tables_of(dataset, dataroot, version, tables),)
    encoder: Any = None
    if run is not None or config is not None:
        encoder = _encoder_of(run, config)
    findings = lint(source, tables, encoder, getattr(encoder, "tokenizer", None), near)
    ok = not any(finding.error for finding in findings)
    if as_json:
        shown = [finding.__dict__ for finding in findings]
        typer.echo(json.dumps({"taxonomy": source.name, "ok": ok, "findings": shown}))
    else:
        _print_findings(source.name, findings, read=encoder is not None)
    if not ok:
        raise typer.Exit(1)


def _print_findings(name: str, findings: Sequence[Finding], read: bool) -> None:
    console = PlainConsole(soft_wrap=True)
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        if counts[finding.kind] <= _MOST:
            style = "red" if finding.error else "yellow"
            console.print(str(finding), style=style)
    for kind, count in counts.items():
        if count > _MOST:
            console.print(f"and {count - _MOST} more of {kind}; --json lists all")
    wrong = sum(finding.error for finding in findings)
    summary = f"{name}: {wrong} errors, {len(findings) - wrong} remarks"
    console.print(summary if read else f"{summary}; near-duplicates: give --run or --config")


def _tables_of(dataset: str, dataroot: Path, version: str | None, known: Sequence[Tables]) -> Tables:
    from dataclasses import replace

    from labelgen.datasets import plan_frames

    mine = [tables for tables in known if tables.name == dataset]
    if not mine:
        names = ", ".join(tables.name for tables in known)
        raise UserError(f"--dataset {dataset!r}: there are tables of {names}")
    _, info = plan_frames(dataset, dataroot, version or "")
    if not info.categories:
        raise UserError(f"{dataroot} has no table of label categories; leave --dataroot out")
    return replace(mine[0], categories=info.categories)


def _encoder_of(run: str | None, config: str | None) -> Any:
    from labelgen.config import load_config
    from labelgen.engine.relabel import run_encoder
    from labelgen.runs import open_run
    from labelgen.semantics import make_encoder

    if run is not None:
        return run_encoder(open_run(run))
    settings = load_config(config or "demo").semantics
    source = make_encoder(settings, "cpu")
    if not hasattr(source, "class_embedding"):
        raise UserError(f"semantics.backend={settings.backend} reads no words; lint without --config")
    return source


@app.command("relabel")
def relabel_command(
    run: RunFolder,
    taxonomy: Annotated[
        str, typer.Option("--taxonomy", help="Name or YAML file of the new classes.", show_default=False)
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", help="Where the run's text encoder is now, if it moved.", show_default=False
        ),
    ] = None,
    output: Output = None,
    scenes: Scenes = None,
    ray: Ray = None,
    retry_failed: RetryFailed = False,
    max_failed: MaxFailed = 0.0,
    as_json: Json = False,
) -> None:
    """Give a run other classes from its stored features alone: no image is read, no GPU needed.

    The text encoder must be the one that the features were made for. The same taxonomy gives the stored
    labels again. The result is a run of its own, laid over RUN.

    Example: `labelgen taxonomy relabel runs/nuscenes --taxonomy my.yaml --output runs/nuscenes-mine`
    """
    from labelgen import api
    from labelgen.runs import open_run

    opened = open_run(run)
    asked = Asked(output, scenes, ray, retry_failed, max_failed, as_json)
    carry_out(
        opened,
        "relabelled",
        asked,
        lambda how, _: api.relabel(opened, taxonomy, checkpoint=checkpoint, **how),
    )
