"""``labelgen run``: the main job as a user sees it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from labelgen.cli.console import PlainConsole, complain
from labelgen.cli.failures import MaxFailed, RetryFailed, answer_for_failures
from labelgen.cli.interrupt import interruptible, leave_stopped
from labelgen.cli.options import Allow, Json, on_disk
from labelgen.cli.progress import bars, frame_progress, step_progress
from labelgen.presets import PRESETS

if TYPE_CHECKING:
    from labelgen.api import Labelled
    from labelgen.engine.planning import Plan, Request

Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="demo (a simulated city), nuscenes, semantickitti, or manifest (frames.parquet)."
    ),
]
Dataroot = Annotated[
    Path | None, typer.Option("--dataroot", help="Folder of the data set.", callback=on_disk)
]
Version = Annotated[
    str | None, typer.Option("--version", help="Version of the tables, such as v1.0-trainval.")
]
Split = Annotated[
    str | None,
    typer.Option("--split", help="Split, such as train or mini_val, or scene names separated by commas."),
]
Config = Annotated[
    str | None,
    typer.Option("--config", help=f"A preset ({', '.join(PRESETS)}) or a YAML file. Default: demo."),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override: section.field=value. Repeatable.")]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", help="Default: runs/<data set>[-<version>][-<split>]. The run's folder, s3://… or gs://…."
    ),
]
Frames = Annotated[
    str | None, typer.Option("--frames", help="Only BEGIN:END of the plan, or its part K/N (from 0/N).")
]


def run(
    context: typer.Context,
    dataset: Dataset = None,
    dataroot: Dataroot = None,
    version: Version = None,
    split: Split = None,
    config: Config = None,
    override: Set = None,
    output: Output = None,
    frames: Frames = None,
    retry_failed: RetryFailed = False,
    allow: Allow = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address", envvar="RAY_ADDRESS", help="Address of a running cluster. Default: a local one."
        ),
    ] = None,
    runner: Annotated[str | None, typer.Option("--runner", help="ray (default) or sequential.")] = None,
    max_failed: MaxFailed = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first frame that fails.")] = False,
    sharing: Annotated[
        bool, typer.Option("--share", help="Share the frames with other callers that also use --share.")
    ] = False,
    with_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Score, and write report and picture, at the end.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Label a data set. Call it again to go on where the last call ended.

    Exits with 1 if a larger share of the frames failed than `--max-failed-fraction`, or one with `--strict`;
    with 2 if it cannot start or go on, or if data or labels make no sense (`--allow`); with 75 after SIGTERM
    and 130 after Ctrl-C, when what was begun is finished and committed and another call is to go on.

    Examples: `labelgen run` labels the simulated city;
    `labelgen run --dataset nuscenes --dataroot /data/nuscenes --split val --config nuscenes`
    """
    from labelgen import api
    from labelgen.engine.planning import Request, make_plan

    overrides = (*(override or ()), *((f"runtime.runner={runner}",) if runner else ()))
    request = Request(
        dataset,
        dataroot,
        version,
        split,
        config,
        overrides,
        output,
        frames,
        retry_failed,
        tuple(allow or ()),
        context.obj,
    )
    console = PlainConsole(stderr=as_json, soft_wrap=True)
    with interruptible(console, None):
        build_city(request, console)
        todo = make_plan(request, partial(frame_progress, console))
    announce(todo, console)
    with interruptible(console, todo.job.run), bars(console) as bar:
        done = api.label(
            todo,
            ray_address=ray_address,
            strict=strict,
            share=sharing,
            with_report=with_report,
            on_frame=bar(len(todo.job.frames), "frames"),
            on_fused=bar(len(todo.selected), "fusing over time"),
            warn=partial(complain, console, "warning", style="bold yellow"),
        )
    result = to_json(todo, done) | {"strict": strict}
    if as_json:
        typer.echo(json.dumps(result))
    if done.unfinished:
        leave_unfinished(done, console)
    conclude(todo, done, console)
    where = done.run if not result.get("fused_failed") else done.best
    answer_for_failures(console, where, result["failed_fraction"], max_failed)


def to_json(plan: Plan, done: Labelled) -> dict[str, Any]:
    """What ``--json`` prints."""
    counts = {"run": done.run, "frames": len(plan.selected), "todo": len(plan.job.frames)}
    result: dict[str, Any] = counts | done.outcome.to_dict()
    if done.fused is not None:
        fused = done.fused.outcome
        failed = fused.failed + fused.failed_before
        result |= {"fused": done.fused.run, "fused_failed": failed}
        result["failed_fraction"] = max(result["failed_fraction"], failed / max(1, len(plan.selected)))
        if fused.left:
            result |= {"stopped": True, "signal": fused.signal}
    return result | ({"report": done.report, "picture": done.picture} if done.report else {})


def leave_unfinished(done: Labelled, console: Console) -> None:
    """Say what is left and by whom it is done, and exit."""
    from labelgen.engine.drain import STOPPED

    outcome = done.outcome if done.fused is None else done.fused.outcome
    committed = outcome.labelled + outcome.failed
    if not outcome.elsewhere:
        by_strict = done.fused is None and not outcome.signal
        leave_stopped(
            console, outcome.signal, committed, outcome.left, 1 if by_strict and outcome.failed else STOPPED
        )
    console.print(
        f"{committed} frames are committed, {outcome.elsewhere} were taken by other drivers of this run; "
        "when they have ended, the same command fuses and reports",
    )
    raise typer.Exit(0)


def announce(plan: Plan, console: Console) -> None:
    """Say what is about to be done, with what, and what the user should know of the models."""
    from labelgen.engine.unchanged import describe

    console.print(
        f"{plan.job.config.dataset}: {len(plan.selected)} frames, {plan.done} done, "
        f"{len(plan.job.frames)} to do{f', {plan.failed} failed before' if plan.failed else ''}",
    )
    if plan.progress.damaged:
        problem, *more = plan.progress.damaged
        others = f", and {len(more)} more" if more else ""
        complain(
            console,
            "warning",
            f"damaged, set aside and done anew: {problem.where}: {problem.detail}{others}",
            "bold yellow",
        )
    if not plan.job.frames:
        return
    if plan.changed:
        complain(console, "warning", describe(plan.changed), "bold yellow")
    if plan.info.ego_box is None and plan.job.config.projection.ego_box is None:
        console.print(
            "  no ego vehicle: no points are left out as the vehicle's own; if its LiDAR or cameras see "
            "it, give its box: projection.ego_box, or ego_box in frames.parquet",
            style="dim",
        )
    for model in plan.models:
        console.print(f"  {model.name}, {model.licence}", style="dim")
    if plan.job.config.dataset == "demo":
        return
    if noted := [model for model in plan.models if model.note]:
        names = " and ".join(model.name for model in noted)
        complain(
            console,
            "warning",
            f"{names}: {noted[0].note}. The result only shows that the pipeline works; use --config "
            f"(CONFIG=nuscenes) for real models",
            "bold yellow",
        )


def conclude(plan: Plan, done: Labelled, console: Console) -> None:
    """Show what is labelled and how right it is, and say in the last line where it is."""
    from labelgen.inspection.summary import render_evaluation, render_steps, render_summary, summarise_run
    from labelgen.runs import open_run

    if done.fused is None and plan.job.config.fusion.enabled:
        console.print("not fused: no finished scene has poses and more than one frame", style="dim")
    if done.fresh:
        render_summary(console, summarise_run(open_run(done.best, plan.job.root)))
    if done.scores:
        render_evaluation(console, done.scores[-1][1])
        render_steps(console, done.scores)
    if done.report:
        if done.fused is not None:
            console.print(f"labels: {done.fused.run}, of the frames alone: {done.run}")
        console.print(f"report: {done.report}   picture: {done.picture}")


def build_city(request: Request, console: Console) -> None:
    """Build the demo's city if there is none, with a progress bar."""
    from labelgen.engine.planning import missing_demo

    if (demo := missing_demo(request)) is None:
        return
    from labelgen.demo.build import build_demo  # its kernels load only where a city is built

    with step_progress(console, demo.scenes * demo.frames, "building the simulated city") as on_step:
        build_demo(request, on_step)
