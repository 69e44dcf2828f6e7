"""``labelgen revote``, ``refine`` and ``fuse``: new labels from what a run holds, as runs derived from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelgen.cli.console import PlainConsole, complain, say
from labelgen.cli.failures import MaxFailed, RetryFailed, answer_for_failures
from labelgen.cli.interrupt import interruptible, leave_stopped
from labelgen.cli.options import Dataroot, Json, RunFolder
from labelgen.cli.progress import Bar, bars
from labelgen.core.errors import UserError
from labelgen.core.wording import whole_number

if TYPE_CHECKING:
    from labelgen.api import Derived, How
    from labelgen.runs import Run

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        help="Default: RUN-<what it is>: revote, afi, calibrated, retrieval, fused, relabelled. "
        "The derived run's folder or address.",
        show_default=False,
    ),
]
Scenes = Annotated[str | None, typer.Option("--scenes", help="Only BEGIN:END of the run's scenes.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Process scenes in parallel on Ray: `local`, or a cluster's address.",
        show_default=False,
    ),
]


#: Of an outcome, in ``--json``.
_COUNTS = ("failed", "scenes", "skipped", "failed_before", "failed_fraction", "left", "signal")


@dataclass(frozen=True)
class Asked:
    """What the commands that derive a run have in common; see their options."""

    output: str | None
    scenes: str | None
    ray: str | None
    retry_failed: bool
    max_failed: float
    as_json: bool


def revote(
    run: RunFolder,
    output: Output = None,
    max_residual: Annotated[
        float | None,
        typer.Option(
            "--max-residual",
            min=0,
            max=1000,
            help="Metres behind a surface from which a point is hidden.",
            show_default=False,
        ),
    ] = None,
    max_residual_relative: Annotated[
        float | None,
        typer.Option(
            "--max-residual-relative",
            min=0,
            max=10,
            help="The same as a share of the depth.",
            show_default=False,
        ),
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(
            "--min-margin",
            min=0,
            max=1,
            help="Lead over the second class that a label needs.",
            show_default=False,
        ),
    ] = None,
    class_margin: Annotated[
        float | None,
        typer.Option(
            "--class-margin",
            min=0,
            max=1,
            help="Vote lost where a region's class is undecided.",
            show_default=False,
        ),
    ] = None,
    edge: Annotated[
        float | None,
        typer.Option("--edge", min=0, max=1, help="Vote lost at a mask's edge.", show_default=False),
    ] = None,
    edge_px: Annotated[
        float | None,
        typer.Option("--edge-px", min=1, max=1000, help="Pixels over which that fades.", show_default=False),
    ] = None,
    residual: Annotated[
        float | None,
        typer.Option(
            "--residual", min=0, max=1, help="Vote lost at the depth test's limit.", show_default=False
        ),
    ] = None,
    angle: Annotated[
        float | None,
        typer.Option(
            "--angle", min=0, max=1, help="Vote lost 90 degrees off the camera's axis.", show_default=False
        ),
    ] = None,
    scenes: Scenes = None,
    ray: Ray = None,
    retry_failed: RetryFailed = False,
    max_failed: MaxFailed = 0.0,
    as_json: Json = False,
) -> None:
    """Vote anew with another depth tolerance, margin or weights, from the shards alone.

    Nothing else is read: no raw file, no model. What is not given stays as in the run. The result is a run of
    its own that holds the labels only and is laid over RUN.

    Example: `labelgen revote runs/demo --max-residual 1.0 --output runs/demo-loose`
    """
    from labelgen import api
    from labelgen.runs import open_run

    changes = {
        "max_residual": max_residual,
        "max_residual_relative": max_residual_relative,
        "min_margin": min_margin,
        "class_margin": class_margin,
        "edge": edge,
        "edge_px": edge_px,
        "residual": residual,
        "angle": angle,
    }
    opened = open_run(run)
    asked = Asked(output, scenes, ray, retry_failed, max_failed, as_json)
    carry_out(opened, "revote", asked, lambda how, _: api.revote(opened, changes=_given(changes), **how))


def refine(
    run: RunFolder,
    afi: Annotated[bool, typer.Option("--afi", help="Smooth labels along flat structures (UOV).")] = False,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="Take the smoothed label, whatever the label was.")
    ] = False,
    fill: Annotated[bool, typer.Option("--fill", help="Also label points without a label.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Map confidence with a file written by `labelgen evaluate --calibrate`.",
            show_default=False,
        ),
    ] = None,
    retrieval: Annotated[
        bool,
        typer.Option(
            "--retrieval", help="Average each region's classes with those of its nearest over the run."
        ),
    ] = False,
    neighbours: Annotated[
        int, typer.Option("--neighbours", min=1, max=1000, help="--retrieval: number of neighbours.")
    ] = 16,
    weight: Annotated[
        float, typer.Option("--weight", min=0, max=1, help="--retrieval: their share of the evidence.")
    ] = 0.5,
    bank: Annotated[
        int,
        typer.Option("--bank", min=1, max=10**7, help="--retrieval: most regions of the run to search."),
    ] = 65536,
    output: Output = None,
    dataroot: Dataroot = None,
    scenes: Scenes = None,
    ray: Ray = None,
    retry_failed: RetryFailed = False,
    max_failed: MaxFailed = 0.0,
    as_json: Json = False,
) -> None:
    """Refine a run's labels: along flat structures (--afi), by looking alike (--retrieval), or confidence.

    The first needs the points, from the run or the raw files; the second the run's features alone. The
    result is a run of its own that holds what changes and is laid over RUN.

    Examples: `labelgen refine runs/demo --afi --output runs/demo-afi`,
    `labelgen refine runs/nuscenes --retrieval --neighbours 16 --output runs/nuscenes-retrieval`
    """
    from labelgen import api
    from labelgen.runs import open_run

    opened = open_run(run, dataroot)
    asked = Asked(output, scenes, ray, retry_failed, max_failed, as_json)
    title = "retrieval" if retrieval else "afi" if calibration is None else "calibrated"
    carry_out(
        opened,
        title,
        asked,
        lambda how, bar: api.refine(
            opened,
            afi=afi,
            as_published=as_published,
            fill=fill,
            calibration=calibration,
            retrieval={"neighbours": neighbours, "weight": weight} if retrieval else False,
            bank=bank,
            on_features=bar(len(opened), "reading features"),
            **how,
        ),
    )


def fuse(
    run: RunFolder,
    ahead: Annotated[
        int | None,
        typer.Option(
            "--ahead", min=0, max=200, help="Frames gathered beyond the one that is read.", show_default=False
        ),
    ] = None,
    voxel: Annotated[
        float | None,
        typer.Option(
            "--voxel", min=0.02, max=100, help="Finest voxels of the map, metres.", show_default=False
        ),
    ] = None,
    decay_s: Annotated[
        float | None,
        typer.Option(
            "--decay-s",
            min=0.1,
            max=10**6,
            help="Seconds after which evidence counts 1 / e.",
            show_default=False,
        ),
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(
            "--min-margin",
            min=0,
            max=1,
            help="Lead over the second class that a label needs.",
            show_default=False,
        ),
    ] = None,
    instances_only: Annotated[
        bool, typer.Option("--instances-only", help="Number and follow things; leave the labels as they are.")
    ] = False,
    output: Output = None,
    dataroot: Dataroot = None,
    scenes: Scenes = None,
    ray: Ray = None,
    retry_failed: RetryFailed = False,
    max_failed: MaxFailed = 0.0,
    as_json: Json = False,
) -> None:
    """Fuse a run's labels over the frames of each scene, and follow things through it.

    Evidence of all frames meets in a voxel map of the world and is read back into every frame, also for
    points that no camera sees. What moves is left out. Needs the points, from the run or the raw files. A
    scene without poses keeps its labels. What is not given is as in the run, so that without options this
    does what `labelgen run` does at its end.

    Example: `labelgen fuse runs/nuscenes --output runs/nuscenes-fused`
    """
    from labelgen import api
    from labelgen.runs import open_run

    changes = {"ahead": ahead, "voxel": voxel, "decay_s": decay_s, "min_margin": min_margin}
    opened = open_run(run, dataroot)
    asked = Asked(output, scenes, ray, retry_failed, max_failed, as_json)
    carry_out(
        opened,
        "fused",
        asked,
        lambda how, _: api.fuse(opened, changes=_given(changes), instances_only=instances_only, **how),
    )


def _given(options: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in options.items() if value is not None}


def carry_out(parent: Run, title: str, asked: Asked, verb: Callable[[How, Bar], Derived]) -> None:
    """Derive a run with a progress bar, and say what came of it and of frames that failed.

    Args:
        parent: that is derived from.
        title: of the bar, and of the run where no other name is asked for.
        asked: see `Asked`.
        verb: of `labelgen.api`; is also given what makes further bars.
    """
    from labelgen.io.place import named_after

    console = PlainConsole(stderr=True)
    folder = asked.output or named_after(parent.store, f"-{title}")
    with interruptible(console, folder), bars(console) as bar:
        how: How = {
            "output": folder,
            "scenes": _range(asked.scenes),
            "ray_address": asked.ray,
            "retry_failed": asked.retry_failed,
            "on_frame": bar(len(parent), title),
            "warn": lambda text: complain(console, "warning", text, "bold yellow"),
        }
        outcome = verb(how, bar).outcome
    if asked.as_json:
        counts = {name: getattr(outcome, name) for name in _COUNTS}
        typer.echo(
            json.dumps({"run": folder, "stopped": outcome.left > 0, "frames": outcome.labelled} | counts)
        )
    else:
        done = f"{outcome.labelled} frames in {outcome.scenes} scenes, {outcome.failed} failed"
        before = f", {outcome.failed_before} failed before" if outcome.failed_before else ""
        skipped = f", {outcome.skipped} scenes were there{before}" if outcome.skipped else before
        say(f"{folder}: {done}{skipped}")
    if outcome.left:
        leave_stopped(console, outcome.signal, outcome.labelled + outcome.failed, outcome.left)
    answer_for_failures(console, folder, outcome.failed_fraction, asked.max_failed)


def _range(text: str | None) -> range:
    if text is None:
        return range(2**31)
    begin, sign, end = text.partition(":")
    first, last = whole_number(begin or "0"), whole_number(end or str(2**31))
    if not sign or first is None or last is None:
        raise UserError(f"--scenes {text!r}: expected BEGIN:END, such as 0:10")
    return range(first, last)
