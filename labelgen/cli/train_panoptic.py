"""``labelgen train panoptic``: open-vocabulary panoptic segmentation from a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from labelgen import api
from labelgen.cli.console import PlainConsole
from labelgen.cli.options import Dataroot, Json, RunFolder
from labelgen.cli.train import (
    Config,
    Output,
    Override,
    Ray,
    Size,
    SplitName,
    Start,
    ValRun,
    Workers,
    named_arguments,
    show_result,
)


class Variant(StrEnum):
    """See `labelgen.distill.panoptic.variants`."""

    PFC = "pfc"
    FUSION = "fusion"
    UNIFIED = "unified"
    OBJECT = "object"
    FULL = "full"


class Labels(StrEnum):
    """What is learned from."""

    TRUTH = "truth"
    PSEUDO = "pseudo"


def panoptic(
    run: RunFolder,
    classes: Annotated[
        str,
        typer.Option(
            "--classes",
            help="Which classes are novel: nuscenes-b12n4, nuscenes-b11n5, semantickitti-b14n5, a YAML file, "
            "or all for none.",
        ),
    ] = "all",
    variant: Annotated[
        Variant,
        typer.Option(
            help="pfc: without CLIP features, two classifiers; then each adds one thing: their fusion, the "
            "unified head, the object loss, the voxel loss (full)."
        ),
    ] = Variant.FULL,
    labels: Annotated[
        Labels, typer.Option(help="truth: the data set's; pseudo: the run's own classes and instances.")
    ] = Labels.TRUTH,
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
    """Learn segments of base classes; name novel ones by their texts (docs/panoptic.md).

    Labels of novel classes reach no loss. `labelgen train predict` labels a run with the result, objects
    numbered.

    Example: `labelgen train panoptic runs/demo --classes nuscenes-b12n4 --size demo`

    Example: `labelgen train panoptic runs/demo --labels pseudo --size demo --output runs/from-pseudo`

    Example: `labelgen train panoptic runs/demo --classes mine.yaml --variant pfc --set seed=1`
    """
    from labelgen.inspection.fitting import show
    from labelgen.inspection.tables import panoptic_table

    named = named_arguments(output, size, config, override, split, dataroot)
    done = api.train(
        run, "panoptic", classes=classes, variant=variant.value, labels=labels.value, start=start,
        val_run=val_run, ray_workers=ray_workers, ray_address=ray, **named,
    )  # fmt: skip
    show_result(done, as_json)
    if not as_json and done.scores is not None:
        for name, title in (("network", "network"), ("labels", "the run's labels")):
            show(PlainConsole(), panoptic_table(done.scores[name]["panoptic"], title))
