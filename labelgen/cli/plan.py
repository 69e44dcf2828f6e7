"""``labelgen plan``: what a run would do, how long it would take, and what it would cost."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated

import typer

from labelgen.cli.console import PlainConsole, complain
from labelgen.cli.failures import RetryFailed
from labelgen.cli.interrupt import interruptible
from labelgen.cli.options import Allow, Json
from labelgen.cli.progress import frame_progress
from labelgen.cli.run import (
    Config,
    Dataroot,
    Dataset,
    Frames,
    Output,
    Set,
    Split,
    Version,
)
from labelgen.core.errors import UserError
from labelgen.core.wording import whole_number


def plan(
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
    probe: Annotated[
        int, typer.Option("--probe", min=0, max=64, help="Label this many frames first, to measure the cost.")
    ] = 0,
    gpus: Annotated[
        str, typer.Option("--gpus", help="Numbers of GPUs to estimate for (of cores, without GPUs).")
    ] = "1,8,64",
    price: Annotated[
        float | None,
        typer.Option("--price", min=0, max=10**6, help="Price of one GPU (core) for one hour; any currency."),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address", envvar="RAY_ADDRESS", help="Cluster to probe on. Default: this machine."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a run would do: frames, images, done and to do, estimated bytes. Writes nothing to the run.

    With `--probe` it labels some frames in a folder that it throws away, and says how long the run would take
    on so many GPUs, and what it would cost. What it measured is kept beside the run, as RUN.plan.json, so
    that the run's report can show the plan beside what came. Exits with 2 if the data make no sense, as the
    run would.

    Examples: `labelgen plan --dataset nuscenes --dataroot /data/nuscenes --split val`;
    `labelgen plan --dataset nuscenes --dataroot /data/nuscenes --config nuscenes --probe 8 --price 2.50`
    """
    from labelgen.datasets.checks import refuse, warnings_of
    from labelgen.engine.planning import Request, make_plan
    from labelgen.engine.unchanged import describe
    from labelgen.inspection.tables import render_estimates, render_plan

    numbers = parse_numbers(gpus)
    overrides = tuple(override or ())
    request = Request(
        dataset, dataroot, version, split, config, overrides, output, frames, retry_failed, tuple(allow or ())
    )
    console = PlainConsole(stderr=as_json, soft_wrap=True)
    with interruptible(console, None):
        made = make_plan(request, partial(frame_progress, console))
    summary = made.summary()
    if made.changed:
        complain(console, "warning", describe(made.changed), "bold yellow")
    refuse(made.findings)
    for line in warnings_of(made.findings):
        complain(console, "warning", line, "bold yellow")
    if probe:
        from labelgen.engine.probe import estimate_costs, keep, summarise

        with interruptible(console, None), console.status(f"labelling {probe} frames"):
            probed = estimate_costs(made, probe, price, ray_address)
        summary |= summarise(probed, made, numbers)
        summary["kept"] = keep(probed, made.job.run)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    render_plan(console, summary)
    if probe:
        render_estimates(console, summary)


def parse_numbers(text: str) -> list[int]:
    """``1,8,64`` as numbers.

    Raises:
        UserError: it holds something else.
    """
    numbers = [whole_number(part.strip()) for part in text.split(",") if part.strip()]
    if not numbers or not all(numbers):
        raise UserError(f"--gpus {text!r}: expected whole numbers with commas, such as 1,8,64")
    return [number for number in numbers if number]
