"""A training from what its user names: method, run, settings; done in this process or on Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.settings_reading import suggestion
from labelgen.core.taxonomy import Taxonomy
from labelgen.data.batches import batches_per_epoch
from labelgen.distill.classes import load_class_split
from labelgen.distill.config import load_train_config
from labelgen.distill.loop import Report, length_of
from labelgen.distill.needs import open_for_training
from labelgen.distill.panoptic.variants import VARIANTS, overrides
from labelgen.distill.protocols import Task, run_task
from labelgen.distill.registry import METHODS
from labelgen.distill.splits import Split, split_frames
from labelgen.distill.state import read_model
from labelgen.distill.train import Start
from labelgen.runs import Run

#: Shows a training of a name and so many steps, as long as it is open; see `labelgen.distill.loop.fit`.
Training = Callable[[str, int], AbstractContextManager[Report]]


def check_pretraining(method: str) -> None:
    """Refuse what is no method of pre-training.

    Raises:
        UserError: no such method, or it learns from labels.
    """
    if METHODS[method].labels != "none":
        raise UserError(f"method {method} learns from labels: `labelgen train pretrain` is for those without")


def panoptic_overrides(taxonomy: Taxonomy, classes: str, variant: str, labels: str) -> list[str]:
    """What a split of the classes, a variant and the kind of labels mean, as ``--set`` takes it.

    Args:
        taxonomy: of the run.
        classes: see `load_class_split`.
        variant: a key of `labelgen.distill.panoptic.variants.VARIANTS`.
        labels: ``truth`` or ``pseudo``.

    Raises:
        UserError: as `load_class_split`, or no such variant.
    """
    if variant not in VARIANTS:
        raise UserError(f"unknown variant {variant!r}; {suggestion(variant, list(VARIANTS))}")
    chosen = load_class_split(classes, taxonomy)
    novel = [taxonomy.names[c] for c in chosen.novel]
    settings = {"classes": chosen.name, "novel": novel, "labels": labels}
    given = [f"settings.{name}={json.dumps(value)}" for name, value in settings.items()]
    return [*overrides(variant), *given]


def make_task(
    method: str,
    run: str,
    output: Path | None = None,
    *,
    size: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    split: str = "auto",
    dataroot: Path | None = None,
    start: Path | None = None,
    keep_head: bool = False,
    fraction: int = 100,
    val_run: str | None = None,
) -> Task:
    """Settle what a training is.

    Args:
        method: of `labelgen.distill.registry.METHODS`.
        run: folder or address of the run to learn from.
        output: folder of the training; beside the run, named after the method, by default.
        size: see `load_train_config`; without one, the network is the checkpoint's.
        config: YAML file over the method's defaults.
        overrides: ``section.field=value``.
        split: see `split_frames`.
        dataroot: where the raw files are; None takes what the plan records.
        start: checkpoint to start from.
        keep_head: take its head, too, where the classes are the same.
        fraction: share of the true labels, per cent.
        val_run: score all frames of this run instead.

    Raises:
        UserError: settings, a checkpoint, a run or a split that cannot be; or a run that is not on a disk,
            without an ``output``.
    """
    settings = load_train_config(method, size, config, overrides)
    if start is not None and size is None:  # the checkpoint says which network it is
        _, source, _ = read_model(start)
        settings = settings.model_copy(
            update={"backbone": source.backbone, "backbone_settings": source.backbone_settings}
        )
    opened = open_for_training(run, dataroot)
    scored = None
    if val_run is None:
        frames = split_frames(opened, split)
    else:
        scored = open_for_training(val_run)
        frames = Split(opened.frames, scored.frames, f"all, scored on {val_run}")
    name = f"{method}-{fraction}" if method in ("probe", "finetune") else method
    return Task(
        run=opened,
        config=settings,
        split=frames,
        folder=output or beside(opened, name),
        start=Start(start, keep_head),
        fraction=fraction,
        scored=scored,
    )


def do_task(
    task: Task, name: str, training: Training, workers: int = 0, address: str | None = None
) -> dict[str, Any]:
    """Train and score.

    Args:
        task: what is done.
        name: under which it is shown.
        training: shows it, where it is done in this process.
        workers: processes on Ray; 0: this one.
        address: of a running cluster.

    Returns:
        See `run_task`.

    Raises:
        UserError: as `run_task`, or `labelgen.engine.ray.train.train_on_ray`.
    """
    if workers:
        from labelgen.engine.ray.train import train_on_ray

        return train_on_ray(task, workers, address)
    optimizer = task.config.optimizer
    steps = length_of(optimizer, batches_per_epoch(len(task.frames), optimizer.batch_size)).steps
    with training(name, steps) as report:
        return run_task(task, report)


def beside(run: Run, name: str) -> Path:
    """A folder named after a run's.

    Raises:
        UserError: the run is not on a disk.
    """
    if "://" in run.url:
        raise UserError(f"{run.url} is not on a local disk; give a folder for the training with --output")
    path = Path(run.url)
    return path.with_name(f"{path.name}-{name}")
