"""``labelgen train``: distil a run into a 3D network, measure it, and label with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from labelgen import api
from labelgen.cli.app import App
from labelgen.cli.console import PlainConsole
from labelgen.cli.failures import MaxFailed, RetryFailed, answer_for_failures
from labelgen.cli.interrupt import leave_stopped
from labelgen.cli.options import Dataroot, Json, RunFolder
from labelgen.cli.progress import frame_progress
from labelgen.inspection.fitting import make_table, show

app = App("Train 3D networks from a run: distillation, pseudo-labels, probes; label with them.")

Output = Annotated[
    Path | None,
    typer.Option("--output", help="Default: RUN-<method>. The training's folder.", show_default=False),
]
Size = Annotated[
    str | None, typer.Option("--size", help="demo, small, base or large: backbone and what goes with it.")
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML over the method's defaults.", show_default=False),
]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="section.field=value, such as optimizer.epochs=5.")
]
SplitName = Annotated[
    str,
    typer.Option("--split", help="auto, official, slidr, held-out, all, or the scenes to be scored."),
]
Start = Annotated[
    Path | None,
    typer.Option("--from", help="Checkpoint to start from: a training's folder.", show_default=False),
]
KeepHead = Annotated[
    bool, typer.Option("--keep-head", help="Take the checkpoint's head, too, where the classes are the same.")
]
ValRun = Annotated[
    str | None,
    typer.Option("--val-run", help="Score all frames of another run instead.", show_default=False),
]
Fraction = Annotated[
    int, typer.Option("--fraction", min=1, max=100, help="Share of the labels: 1, 5, 10, 25, 100 %.")
]
Workers = Annotated[
    int,
    typer.Option(
        "--ray-workers", min=0, max=1024, help="Train on this many processes through Ray; 0: in this one."
    ),
]
Ray = Annotated[str | None, typer.Option("--ray", help="Address of a running cluster.", show_default=False)]


@app.command("pretrain")
def pretrain(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD", help="ppkt, slidr, st-slidr, scalr, openscene, vlm2scene, tmp."),
    ],
    run: RunFolder,
    output: Output = None,
    size: Size = None,
    config: Config = None,
    override: Override = None,
    split: SplitName = "auto",
    start: Start = None,
    val_run: ValRun = None,
    dataroot: Dataroot = None,
    ray_workers: Workers = 0,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Distil a run's image features into a 3D backbone, without labels.

    Example: `labelgen train pretrain slidr runs/nuscenes --split slidr --output runs/slidr`
    """
    from labelgen.engine.trainings import check_pretraining

    check_pretraining(method)
    named = named_arguments(output, size, config, override, split, dataroot)
    done = api.train(
        run, method, start=start, val_run=val_run, ray_workers=ray_workers, ray_address=ray, **named
    )
    show_result(done, as_json)


@app.command("annotation-free")
def annotation_free(
    run: RunFolder,
    output: Output = None,
    size: Size = None,
    config: Config = None,
    override: Override = None,
    split: SplitName = "auto",
    start: Start = None,
    keep_head: KeepHead = False,
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds", min=1, max=100, help="2 or more: again on the labels that the network predicts."
        ),
    ] = 1,
    val_run: ValRun = None,
    dataroot: Dataroot = None,
    ray_workers: Workers = 0,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Train on a run's pseudo-labels, weighted by their confidence; score with the truth on all points.

    Example: `labelgen train annotation-free runs/nuscenes --from runs/tmp --output runs/free`
    """
    named = named_arguments(output, size, config, override, split, dataroot)
    done = api.train(
        run, "annotation-free", start=start, keep_head=keep_head, rounds=rounds, val_run=val_run,
        ray_workers=ray_workers, ray_address=ray, **named,
    )  # fmt: skip
    show_result(done, as_json)


@app.command("probe")
def probe(
    run: RunFolder,
    start: Start = None,
    fraction: Annotated[
        int, typer.Option("--fraction", min=1, max=100, help="Share of the labels: 1, 5, 10, 25, 100 %.")
    ] = 100,
    output: Output = None,
    size: Size = None,
    config: Config = None,
    override: Override = None,
    split: SplitName = "auto",
    val_run: ValRun = None,
    dataroot: Dataroot = None,
    as_json: Json = False,
) -> None:
    """Linear probe: the backbone stays as it is, a linear head learns the true labels.

    Example: `labelgen train probe runs/nuscenes --from runs/slidr`
    """
    named = named_arguments(output, size, config, override, split, dataroot)
    done = api.train(run, "probe", start=start, fraction=fraction, val_run=val_run, **named)
    show_result(done, as_json)


@app.command("finetune")
def finetune(
    run: RunFolder,
    fraction: Annotated[
        int, typer.Option("--fraction", min=1, max=100, help="Share of the labels: 1, 5, 10, 25, 100 %.")
    ] = 100,
    start: Start = None,
    keep_head: KeepHead = False,
    output: Output = None,
    size: Size = None,
    config: Config = None,
    override: Override = None,
    split: SplitName = "auto",
    val_run: ValRun = None,
    dataroot: Dataroot = None,
    ray_workers: Workers = 0,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Fine-tune on a share of the true labels (the papers' subsets), from a checkpoint or from scratch.

    Example: `labelgen train finetune runs/nuscenes --fraction 1 --from runs/slidr`
    """
    named = named_arguments(output, size, config, override, split, dataroot)
    done = api.train(
        run, "finetune", start=start, keep_head=keep_head, fraction=fraction, val_run=val_run,
        ray_workers=ray_workers, ray_address=ray, **named,
    )  # fmt: skip
    show_result(done, as_json)


@app.command("predict")
def predict(
    run: RunFolder,
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A training's folder.")],
    output: Annotated[
        str | None,
        typer.Option("--output", help="The new run. Default: RUN-predicted.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="CPU threads.")] = 2,
    afi: Annotated[
        bool, typer.Option("--afi", help="Smooth the network's probabilities along flat structures.")
    ] = False,
    dataroot: Dataroot = None,
    retry_failed: RetryFailed = False,
    max_failed: MaxFailed = 0.0,
    as_json: Json = False,
) -> None:
    """Label all points of a run's frames with a trained network, as a run of its own.

    `inspect`, `evaluate`, `refine`, `report` and `export` take it like any other run.

    Example: `labelgen train predict runs/demo runs/demo-annotation-free --output runs/demo-net`
    """
    from labelgen.engine.trainings import beside
    from labelgen.runs import open_run

    opened = open_run(run)
    target = output or str(beside(opened, "predicted"))
    with _labelling(len(opened)) as advance:
        done = api.predict(
            run,
            checkpoint,
            target,
            dataroot=dataroot,
            device=device,
            threads=threads,
            afi=afi,
            retry_failed=retry_failed,
            on_frame=advance,
        )
    typer.echo(json.dumps(done) if as_json else f"{target}: {done['frames']} frames, {done['failed']} failed")
    console = PlainConsole(stderr=True)
    if done["signal"]:
        leave_stopped(console, done["signal"], done["frames"] + done["failed"], done["left"])
    answer_for_failures(console, target, done["failed_fraction"], max_failed)


@app.command("distill")
def distill(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="Method of pre-training, or annotation-free for none.")
    ],
    run: RunFolder,
    output: Output = None,
    size: Size = None,
    config: Config = None,
    override: Override = None,
    split: SplitName = "auto",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=100, help="Rounds of training on labels.")
    ] = 1,
    dataroot: Dataroot = None,
    as_json: Json = False,
) -> None:
    """Do everything: pre-train, train on pseudo-labels, label the run with the network, score it and report.

    Example: `labelgen train distill slidr runs/demo --size demo`
    """
    named = named_arguments(output, size, config, override, split, dataroot)
    done = api.distill_run(run, method, rounds=rounds, **named)
    labelled = done.predicted
    if as_json:
        typer.echo(json.dumps(done.results | {"report": str(done.report)}))
    else:
        show_result(done.training, False)
        typer.echo(f"report: {done.report}   run: {labelled['run']}")
    answer_for_failures(PlainConsole(stderr=True), labelled["run"], labelled["failed_fraction"], 0.0)


def named_arguments(
    output: Path | None,
    size: str | None,
    config: Path | None,
    override: list[str] | None,
    split: str,
    dataroot: Path | None,
) -> api.Named:
    """The options that all trainings share as arguments of their verbs, with bars of progress."""
    return api.Named(
        output=output,
        size=size,
        config=config,
        settings=override or (),
        split=split,
        dataroot=dataroot,
        on_training=_training,
        on_labelling=_labelling,
    )


def show_result(done: api.Trained, as_json: bool) -> None:
    """Print what a training gave."""
    result, scores = done.results, done.scores
    if as_json:
        typer.echo(json.dumps(result))
        return
    head = f"{result['checkpoint']}: {result['method']}, {result['frames']} frames, {result['steps']} steps"
    typer.echo(head + (f", loss {result['loss']:.4g}" if result["loss"] is not None else ""))
    if scores is None:
        return
    title = f"{scores['frames']} held-out frames, split {result['split']}"
    table = make_table("", "mIoU, all points", "mIoU, labelled", "coverage", "SLidR's mIoU", title=title)
    for name, title in (("network", "network"), ("labels", "the run's labels")):
        one = scores[name]
        values = (one["miou_all"], one["miou"], one["coverage"], one["protocols"]["slidr"]["miou"])
        table.add_row(title, *("-" if value is None else f"{value:.1%}" for value in values))
    show(PlainConsole(), table)


@contextmanager
def _training(name: str, steps: int) -> Iterator[Callable[[int, dict[str, float] | None], None]]:
    """A bar, or lines of the log where there is no terminal."""
    console = PlainConsole(stderr=True)
    reached = 0
    with frame_progress(console, steps, name) as advance:

        def report(step: int, line: dict[str, float] | None) -> None:
            nonlocal reached
            advance(step - reached)
            reached = step
            if line is not None and not console.is_terminal:
                console.print("  ".join(f"{key} {value:.4g}" for key, value in line.items()))

        yield report


def _labelling(frames: int) -> AbstractContextManager[Callable[[int], None]]:
    return frame_progress(PlainConsole(stderr=True), frames, "labelling")
