"""``labelgen run``: the main job as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from labelgen.cli.console import PlainConsole, complain
from labelgen.cli.failures import MaxFailed, RetryFailed, answer_for_failures
from labelgen.cli.interrupt import interruptible, leave_stopped
from labelgen.cli.options import Allow, Json, on_disk
from labelgen.cli.progress import frame_progress, step_progress
from labelgen.errors import UserError
from labelgen.presets import PRESETS

if TYPE_CHECKING:
    from labelgen.datasets.checks import Finding
    from labelgen.engine.main_job import Fused
    from labelgen.engine.planning import Plan, Request

#: Frames drawn in the report that ends a run; `labelgen report --pictures` draws more.
REPORT_PICTURES = 3

Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="demo (a simulated city), nuscenes, semantickitti, or manifest (frames.parquet)."
    ),
]
Dataroot = Annotated[
    Path | None, typer.Option("--dataroot", help="Folder of the data set.", callback=on_disk)
]
Version = Annotated[str | None, typer.Option("--version", help="Of the tables, such as v1.0-trainval.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Such as train, mini_val, or scene names with commas.")
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
        typer.Option("--ray-address", envvar="RAY_ADDRESS", help="A running cluster. Default: local."),
    ] = None,
    runner: Annotated[str | None, typer.Option("--runner", help="ray (default) or sequential.")] = None,
    max_failed: MaxFailed = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first frame that fails.")] = False,
    sharing: Annotated[
        bool, typer.Option("--share", help="Do the frames together with other callers that share, too.")
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
    from labelgen.engine.planning import Request, make_plan

    overrides = (*(override or ()), *((f"runtime.runner={runner}",) if runner else ()))
    request = Request(
        dataset, dataroot, version, split, config, overrides, output, frames, retry_failed, tuple(allow or ())
    )
    console = PlainConsole(stderr=as_json, soft_wrap=True)
    with interruptible(console, None):
        build_city(request, console)
        todo = make_plan(request, partial(frame_progress, console))
    announce(todo, console)
    result = label(todo, console, ray_address, strict=strict, share=sharing)
    judge_run(todo, console)
    if result["stopped"] or result["elsewhere"]:
        leave_unfinished(result, console, as_json=as_json)
    fused = None
    if todo.job.config.fusion.enabled:
        fused = fuse_over_time(todo, console, ray_address, retry_failed)
    if fused is not None:
        result |= {"fused": fused.run, "fused_failed": fused.failed}
        share = fused.failed / max(1, len(todo.selected))
        result["failed_fraction"] = max(result["failed_fraction"], share)
        if fused.left:
            if as_json:
                typer.echo(json.dumps(result | {"stopped": True, "signal": fused.signal}))
            leave_stopped(console, fused.signal, fused.frames, fused.left)
    if with_report:
        result |= conclude(todo, fused, console)
    if as_json:
        typer.echo(json.dumps(result))
    where = result["fused" if result.get("fused_failed") else "run"]
    answer_for_failures(console, where, result["failed_fraction"], max_failed)


def leave_unfinished(result: dict[str, Any], console: Console, *, as_json: bool) -> None:
    """Say what is left and by whom it is done, and exit: pass 2 and the report are for whole runs."""
    from labelgen.engine.drain import STOPPED

    if as_json:
        typer.echo(json.dumps(result))
    done = result["labelled"] + result["failed"]
    if result["stopped"]:
        otherwise = 1 if result["failed"] and result["strict"] else STOPPED
        leave_stopped(console, result["signal"], done, result["todo"] - done, otherwise)
    console.print(
        f"{done} frames are committed, {result['elsewhere']} were taken by other drivers of this run; "
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
    warn(console, plan.findings)
    if plan.info.ego_box is None and plan.job.config.projection.ego_box is None:
        console.print(
            "  no ego vehicle: no point is left out as the vehicle's own; where its LiDAR or cameras see it, "
            "name its box: projection.ego_box, or ego_box in frames.parquet",
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
            f"{names}: {noted[0].note}. What follows only shows that the way works; "
            "use --config (CONFIG=nuscenes) for real models",
            "bold yellow",
        )


def warn(console: Console, findings: Iterable[Finding]) -> None:
    """Print what does not make sense and yet does not stop the run."""
    for finding in findings:
        if not finding.refuse:
            complain(console, "warning", f"{finding} [{finding.check}]", "bold yellow")


def judge_run(plan: Plan, console: Console) -> None:
    """Say what does not make sense about what is labelled so far.

    Raises:
        UserError: it cannot be right.
    """
    from labelgen.datasets.checks import refuse
    from labelgen.inspection.verdict import judge
    from labelgen.runs import open_run

    frames = {frame.frame_id for frame in plan.selected}
    findings = judge(open_run(plan.job.run), frames, plan.job.config.allow)
    if plan.job.frames:
        told = {finding.check for finding in plan.findings}
        warn(console, [finding for finding in findings if finding.check not in told])
    refuse(findings)


def label(
    plan: Plan, console: Console, ray_address: str | None, *, strict: bool, share: bool
) -> dict[str, Any]:
    """Label what is left, with a progress bar."""
    from labelgen.engine.main_job import execute

    bar = frame_progress(console, len(plan.job.frames))
    with interruptible(console, plan.job.run), bar as on_frame:
        outcome = execute(
            plan,
            on_frame,
            ray_address,
            strict=strict,
            share=share,
            warn=partial(complain, console, "warning", style="bold yellow"),
        )
    counts = {"run": str(plan.job.run), "frames": len(plan.selected), "todo": len(plan.job.frames)}
    return counts | {"strict": strict} | outcome.to_dict()


def fuse_over_time(plan: Plan, console: Console, ray_address: str | None, retry_failed: bool) -> Fused | None:
    """Pass 2, with a progress bar; None where there is nothing to fuse, or nothing can be written."""
    from labelgen.engine.main_job import fuse
    from labelgen.shards.names import RUN_JSON
    from labelgen.shards.place import named_after, open_store
    from labelgen.shards.there import refuses_writing

    bar = frame_progress(console, len(plan.selected), "fusing over time")
    tell = partial(complain, console, "warning", style="bold yellow")
    try:
        with interruptible(console, plan.job.run), bar as on_frame:
            fused = fuse(plan, on_frame, ray_address, retry_failed=retry_failed, warn=tell)
    except UserError as error:
        begun = open_store(named_after(plan.job.run, "-fused")).exists(RUN_JSON)
        if plan.job.frames or begun or not refuses_writing(error):
            raise
        # A finished run on a disk that cannot be written, such as an archive's.
        complain(console, "warning", f"not fused over time: {error}", "bold yellow")
        return None
    if fused is None:
        console.print("not fused: no finished scene has poses and more than one frame", style="dim")
    return fused


def conclude(plan: Plan, fused: Fused | None, console: Console) -> dict[str, Any]:
    """Score where truth exists, write report and picture, and say in the last line where they are.

    They are about the fused run where there is one; its scores stand beside those of the frames alone.
    """
    from labelgen.inspection.evaluation import evaluate_steps, has_truth
    from labelgen.inspection.picture import save_picture
    from labelgen.inspection.reporting import report_run
    from labelgen.inspection.summary import render_evaluation, render_steps, render_summary, summarise_run
    from labelgen.runs import open_run
    from labelgen.shards.place import open_store
    from labelgen.shards.there import refuses_writing

    store = open_store(plan.job.run if fused is None else fused.run)
    report, picture = f"{store.url}/report/index.html", f"{store.url}/report/frame.png"
    changed = plan.job.frames or (fused is not None and fused.scenes)
    if changed or not store.exists("report/index.html"):
        opened = open_run(store, plan.job.root)
        render_summary(console, summarise_run(opened))
        steps = evaluate_steps(opened) if has_truth(opened) else []
        if steps:
            render_evaluation(console, steps[-1][1])
            render_steps(console, steps)
        try:
            if opened.frames:
                save_picture(opened.frame(opened.frames[0]), picture)
            report_run(opened, f"{store.url}/report", REPORT_PICTURES, steps)
        except UserError as error:
            if changed or not refuses_writing(error):
                raise
            complain(
                console, "warning", f"there is no report, and none can be written: {error}", "bold yellow"
            )
            return {}
    if fused is not None:
        console.print(f"labels: {fused.run}, of the frames alone: {plan.job.run}")
    console.print(f"report: {report}   picture: {picture}")
    return {"report": report, "picture": picture}


def build_city(request: Request, console: Console) -> None:
    """Build the demo's city if there is none, with a progress bar."""
    from labelgen.engine.planning import missing_demo

    if (demo := missing_demo(request)) is None:
        return
    from labelgen.demo.build import build_demo  # its kernels load only where a city is built

    with step_progress(console, demo.scenes * demo.frames, "building the simulated city") as on_step:
        build_demo(request, on_step)
