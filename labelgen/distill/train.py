"""One training from a run: frames to batches to the loop to a file of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from labelgen.core.errors import UserError
from labelgen.data import BatchStream
from labelgen.data.batches import batches_per_epoch
from labelgen.distill.batch import Batch
from labelgen.distill.config import TrainConfig
from labelgen.distill.loop import Report, fit, length_of
from labelgen.distill.model import Model, make_model
from labelgen.distill.needs import info_of
from labelgen.distill.predict import Predictor
from labelgen.distill.samples import FrameTransform, batches_of
from labelgen.distill.state import WEIGHTS, load_backbone, load_head, read_model, save_model, weights_file
from labelgen.models.checkpoints import load_weights
from labelgen.models.execution import select_device
from labelgen.models.info import file_hash
from labelgen.runs import Run


@dataclass(frozen=True)
class Start:
    """Where a training starts from.

    Attributes:
        checkpoint: of another training, whose backbone is taken; None starts from random weights.
        head: take its head, too, where it has the same classes.
    """

    checkpoint: Path | None = None
    head: bool = False

    def describe(self) -> str:
        """What determines the weights, for the digest of a training."""
        if self.checkpoint is None:
            return ""
        return f"{file_hash(weights_file(self.checkpoint))} {self.head}"


@dataclass(frozen=True)
class Place:
    """Which of several processes this one is, and how the model is wrapped there."""

    rank: int = 0
    world: int = 1
    wrap: Callable[[Model], nn.Module] | None = None


def train(
    run: Run,
    config: TrainConfig,
    frames: Sequence[str],
    folder: Path,
    *,
    start: Start | None = None,
    truth: bool = False,
    report: Report | None = None,
    place: Place | None = None,
) -> Predictor:
    """Train and write ``model.safetensors``; a training that is done is read, one that was stopped goes on.

    Args:
        run: to learn from.
        config: of the training.
        frames: ids of the frames to learn from.
        folder: of the training.
        start: weights to start from.
        truth: learn from the data set's labels instead of the run's.
        report: see `fit`.
        place: of this process among several.

    Raises:
        UserError: the run lacks what the method needs, the checkpoint does not fit, the folder is another
            training's, or a loss is not finite.
    """
    start, place = start or Start(), place or Place()
    device = select_device(config.runtime.device, config.runtime.threads)
    torch.manual_seed(config.seed)
    model = make_model(config, info_of(run))
    if not frames:
        raise UserError(f"no frames of {run.url} to train on")
    transform = FrameTransform(
        run, frames, model.method.needs, config.data,
        neighbours=model.backbone.neighbours, bounds=model.backbone.bounds, seed=config.seed, truth=truth,
        classes=model.method.classes,
    )  # fmt: skip
    digest = config.digest(
        run=run.info.fingerprint,
        frames=list(frames),
        start=start.describe(),
        truth=truth,
        world=place.world,
    )
    predictor = Predictor(model, config, info_of(run), device)
    if (folder / WEIGHTS).is_file():
        weights, found, _ = read_model(folder)
        if (folder / "digest").read_text().strip() != digest:
            raise UserError(f"{folder} holds another training ({found.method}); choose another --output")
        load_weights(model, weights, folder / WEIGHTS, config.backbone)
        model.to(device).eval()
        return predictor
    if start.checkpoint is not None:
        load_backbone(model.backbone, config, start.checkpoint)
        if start.head:
            load_head(model.method, start.checkpoint, run.taxonomy.names)
    per_epoch = batches_per_epoch(len(frames), config.optimizer.batch_size, place.world)
    length = length_of(config.optimizer, per_epoch)

    def batches_from(first: int) -> Iterable[Batch]:
        last, (epoch, batch) = length.steps * config.optimizer.accumulate, divmod(first, per_epoch)
        stream = BatchStream(
            run, transform.fields, frames=frames, batch_size=config.optimizer.batch_size, seed=config.seed,
            epochs=math.ceil(last / per_epoch) - epoch, rank=place.rank, world_size=place.world,
            transform=transform,
        )  # fmt: skip
        stream.resume(epoch, batch)
        return batches_of(stream, config.runtime.workers, device.type == "cuda")

    if config.runtime.compile:
        model.backbone.compile(dynamic=True)
    weights = fit(
        model, batches_from, config, length, folder, device,
        digest=digest, report=report, wrap=place.wrap, main=place.rank == 0,
    )  # fmt: skip
    if place.rank == 0:
        (folder / "digest").write_text(digest + "\n")
        save_model(folder / WEIGHTS, weights, config, run.taxonomy.names)
    model.load_state_dict(weights)
    return predictor
