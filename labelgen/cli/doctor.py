"""``labelgen doctor``: whether this machine, or every node of a cluster, is fit for a run."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from labelgen.cli.console import PlainConsole
from labelgen.cli.options import Allow, Json
from labelgen.cli.run import Config, Dataroot, Dataset, Output, Set, Split, Version

_STATES = {True: Text("ok", "green"), None: Text("note", "yellow"), False: Text("NO", "bold red")}


def doctor(
    dataset: Dataset = None,
    dataroot: Dataroot = None,
    version: Version = None,
    split: Split = None,
    config: Config = None,
    override: Set = None,
    output: Output = None,
    allow: Allow = None,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", envvar="RAY_ADDRESS", help="Check every node of this cluster."),
    ] = None,
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes",
            min=0,
            max=10_000,
            help="Wait up to five minutes until the cluster has this many nodes.",
        ),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Look for what would stop a run, on this machine and on every node of a cluster; 1 if there is any.

    GPUs, disk, versions, weights and their hashes, the output as every node sees it, the data root, the
    token. Give it what you are going to give to `labelgen run`.

    Example: `labelgen doctor --config nuscenes --dataset nuscenes --dataroot /data/nuscenes
    --output /data/runs/val --ray-address head:6379`
    """
    from labelgen.engine.planning import Request
    from labelgen.engine.ray.doctor import diagnose

    overrides = tuple(override or ())
    request = Request(dataset, dataroot, version, split, config, overrides, output, allow=tuple(allow or ()))
    console = PlainConsole(stderr=as_json, soft_wrap=True)
    with console.status("looking around"):
        findings = diagnose(request, ray_address, nodes)
    fit = all(finding.ok is not False for finding in findings)
    if as_json:
        typer.echo(json.dumps({"fit": fit, "findings": [finding.to_dict() for finding in findings]}))
    else:
        from labelgen.inspection.tables import plain

        for finding in findings:
            console.print(
                _STATES[finding.ok], plain(f"{finding.check}, {finding.where}:"), plain(finding.detail)
            )
    if not fit:
        raise typer.Exit(1)
