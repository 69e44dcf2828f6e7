"""Distillation from end to end: pre-train, train on pseudo-labels in rounds, label anew."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from labelgen.core.errors import UserError
from labelgen.distill.needs import check_readable, info_of, open_for_training
from labelgen.distill.predict import load_predictor
from labelgen.distill.protocols import RESULTS, Task
from labelgen.distill.train import Start
from labelgen.engine.derivation import plan_derivation
from labelgen.engine.derive import derive
from labelgen.engine.drain import STOPPED
from labelgen.engine.predictions import Predict
from labelgen.labels.afi import AfiSettings
from labelgen.runs import open_run

#: Runs a task, shows its progress under a name, and gives its results.
Stage = Callable[[str, Task], dict[str, Any]]

#: Shows the labelling of so many frames, as long as it is open: told how many more are done.
Labelling = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def predict(
    run: str,
    checkpoint: Path,
    output: str,
    on_frame: Callable[[int], None],
    dataroot: Path | None = None,
    device: str = "auto",
    threads: int = 2,
    afi: bool = False,
    *,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Label all frames of a run with a trained network, as a run laid over it.

    Args:
        run: address of the run.
        checkpoint: of `labelgen train`.
        output: the new run's folder or address.
        on_frame: called with the number of frames of every scene that is done.
        dataroot: where the raw files are; None takes what the plan records.
        device: to run on.
        threads: of the processor.
        afi: smooth the network's probabilities along flat structures.
        retry_failed: try frames again that failed before.

    Returns:
        ``run``, ``frames``, ``failed``, ``left``, ``failed_fraction``, ``signal``: see
        `labelgen.engine.driver.Outcome`.

    Raises:
        UserError: the checkpoint does not fit the run, the folder holds another run, or ``afi`` is asked of
            a panoptic network.
    """
    # What is wrong with the checkpoint stops the command before anything is written.
    opened = open_run(run, dataroot)
    check_readable(opened)
    predictor = load_predictor(checkpoint, info_of(opened), torch.device("cpu"))
    if afi and predictor.model.method.finds_segments:
        raise UserError(f"{checkpoint} predicts segments, not class probabilities; leave out --afi")
    operation = Predict(checkpoint.absolute(), device, threads, AfiSettings() if afi else None)
    derivation = plan_derivation(opened, operation, output)
    outcome = derive(derivation, on_frame, retry_failed=retry_failed)
    counts = {"frames": outcome.labelled, "failed": outcome.failed, "left": outcome.left}
    return {
        "run": output,
        **counts,
        "failed_fraction": outcome.failed_fraction,
        "signal": outcome.signal if outcome.left else 0,
    }


def self_train(task: Task, rounds: int, stage: Stage, labelling: Labelling) -> dict[str, Any]:
    """Train on pseudo-labels, then on the labels of the network that this gave, and so on.

    Args:
        task: the first round; later ones, in ``<folder>/round-N``, start from the same weights.
        rounds: in all.
        stage: runs a task and shows its progress.
        labelling: shows the labelling between rounds.

    Returns:
        Results of the last round, with those of all in ``rounds``.
    """
    results = [stage("round 1", task)]
    folder = task.folder
    for number in range(2, rounds + 1):
        labels = task.folder / f"labels-{number - 1}"
        _label(task, folder, labels, labelling)
        folder = task.folder / f"round-{number}"
        labelled = open_for_training(labels, task.run.given)
        again = replace(task, run=labelled, folder=folder, scored=task.scored or task.run)
        results.append(stage(f"round {number}", again))
    return results[-1] | {"rounds": results}


def distill(
    pretraining: Task | None,
    training: Task,
    rounds: int,
    stage: Stage,
    labelling: Labelling,
) -> dict[str, Any]:
    """Pre-train, train on pseudo-labels from there, label the run anew.

    Args:
        pretraining: first training; None starts from random weights.
        training: on pseudo-labels.
        rounds: of self-training.
        stage: runs a task and shows its progress.
        labelling: shows the labelling, between rounds and in the end.

    Returns:
        ``pretraining`` and ``training`` results, and ``predicted``, the new run.
    """
    first = None
    if pretraining is not None:
        first = stage(f"pre-training {pretraining.config.method}", pretraining)
        training = replace(training, start=Start(pretraining.folder))
    result = self_train(training, rounds, stage, labelling)
    done = _label(training, Path(result["checkpoint"]), training.folder.parent / "predicted", labelling)
    summary = {"pretraining": first, "training": result, "predicted": done}
    (training.folder.parent / RESULTS).write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _label(task: Task, checkpoint: Path, output: Path, labelling: Labelling) -> dict[str, Any]:
    """`predict` for the run that a task trains on."""
    run, runtime = task.run, task.config.runtime
    with labelling(len(run)) as on_frame:
        done = predict(run.url, checkpoint, str(output), on_frame, run.given, runtime.device, runtime.threads)
    if done["signal"] == signal.SIGINT:
        raise KeyboardInterrupt
    if done["signal"]:
        sys.exit(STOPPED)
    return done
