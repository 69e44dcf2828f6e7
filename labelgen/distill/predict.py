"""A trained network's labels for all raw points of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import NO_CAMERA, NO_REGION, UNLABELLED, PointLabels, Reason
from labelgen.data import LabelDataset
from labelgen.distill.afi_torch import smoother
from labelgen.distill.batch import NONE
from labelgen.distill.config import TrainConfig
from labelgen.distill.loop import precision
from labelgen.distill.methods import CacheInfo
from labelgen.distill.methods.answer import Answer, Segments
from labelgen.distill.model import Model, make_model
from labelgen.distill.needs import cloud_of
from labelgen.distill.samples import FrameTransform, batches_of
from labelgen.distill.state import check_method, read_model, weights_file
from labelgen.labels.afi import AfiSettings, ground_classes, refine_probability
from labelgen.metrics import SegmentationScore
from labelgen.models.checkpoints import load_weights
from labelgen.runs import Run


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to label frames.

    Attributes:
        model: in evaluation mode, on the device.
        config: that it was made with.
        info: of the run whose frames are labelled.
        device: of the model.
    """

    model: Model
    config: TrainConfig
    info: CacheInfo
    device: torch.device

    @property
    def gives_classes(self) -> bool:
        """Whether the method has a head for classes, or one that leads into the space of their texts."""
        return self.model.method.gives_classes(self.info)

    def data(self, run: Run, frames: Sequence[str]) -> LabelDataset:
        """The frames as they are, in this order: no augmentation, no limit on points."""
        backbone = self.model.backbone
        transform = FrameTransform(
            run, frames, self.model.method.inputs, self.config.data,
            neighbours=backbone.neighbours, bounds=backbone.bounds, training=False,
        )  # fmt: skip
        return LabelDataset(run, transform.fields, frames=frames, transform=transform)

    def __call__(
        self, run: Run, frames: Sequence[str], workers: int = 0
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Frame by frame, its id and (N, C) class probabilities of its N raw points.

        Points that are no return have 0 for every class.

        Args:
            run: that the frames are of.
            frames: ids.
            workers: processes that make batches; 0: this one.
        """
        for frame_id, raw, said in self._answers(run, frames, workers):
            yield frame_id, self._spread(said, raw)

    def labels(
        self, run: Run, frames: Sequence[str], workers: int = 0, afi: AfiSettings | None = None
    ) -> Iterator[tuple[str, PointLabels]]:
        """Frame by frame, its id and the labels of its raw points.

        Args:
            run: that the frames are of.
            frames: ids.
            workers: processes that make batches; 0: this one.
            afi: smooths the probabilities first (`refine_probability`); not for panoptic networks.
        """
        ground = ground_classes(run.taxonomy.names)
        smooth = None if afi is None or self.device.type == "cpu" else smoother(self.device)
        for frame_id, raw, said in self._answers(run, frames, workers):
            views = _views(run, frame_id)
            if self.model.method.finds_segments:
                yield frame_id, segments_as_labels(None if said is None else said.segments, raw, views)
                continue
            probability = self._spread(said, raw)
            if afi is not None:
                xyz, _ = cloud_of(run.frame(frame_id))
                probability = refine_probability(xyz, probability, ground, afi, smooth)
            yield frame_id, as_labels(probability, views)

    def _answers(
        self, run: Run, frames: Sequence[str], workers: int
    ) -> Iterator[tuple[str, NDArray[np.int64], Answer | None]]:
        """Frame by frame, the points that answer for its raw points, and what is said of them if any."""
        for batch in batches_of(self.data(run, frames), workers):
            assert batch.raw_point is not None
            said = None
            if len(batch):
                with self._computing():
                    said = self.model.predict(batch.to(self.device), self.info)
            yield batch.frame_id[0], batch.raw_point.numpy(), said

    def _spread(self, said: Answer | None, raw: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, C) probabilities of the raw points."""
        probability = np.zeros((len(raw), self.info.classes), np.float32)
        if said is not None:
            assert said.probability is not None, "the method finds segments"
            probability[raw != NONE] = said.probability.cpu().numpy()[raw[raw != NONE]]
        return probability

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with torch.inference_mode(), precision(self.device, self.config.runtime.precision):
            yield


def load_predictor(path: Path, info: CacheInfo, device: torch.device) -> Predictor:
    """Build a trained network again.

    Args:
        path: a ``.safetensors`` of `labelgen train`, or the training's folder.
        info: of the run that it is to label.
        device: to run on.

    Raises:
        UserError: no such file, other classes than the run's, weights that do not fit, a method that
            gives no classes, or one of a package that is not installed.
    """
    weights, config, classes = read_model(path)
    if classes != info.taxonomy.names:
        raise UserError(
            f"checkpoint {weights_file(path)} knows the classes {', '.join(classes[:4])} …; the run's "
            f"taxonomy {info.taxonomy.name} has {', '.join(info.taxonomy.names[:4])} …"
        )
    check_method(path, config)
    model = make_model(config, info)
    load_weights(model, weights, weights_file(path), f"{config.backbone} with method {config.method}")
    predictor = Predictor(model.to(device).eval(), config, info, device)
    if not predictor.gives_classes:
        raise UserError(
            f"checkpoint {weights_file(path)} of method {config.method} learned no classes and no texts; "
            "train a head first: labelgen train probe, annotation-free or finetune"
        )
    return predictor


def as_labels(probability: NDArray[np.float32], views: NDArray[np.uint8]) -> PointLabels:
    """Labels of a frame from class probabilities.

    Args:
        probability: (N, C); rows of zeros are points without a label.
        views: (N,) number of cameras that see each point, which stays known.

    Returns:
        The best class, its probability as confidence, its lead over the second as margin. No region and no
        camera decided; points that are no return have that as their reason.
    """
    ranked = np.sort(probability, axis=1)[:, ::-1]
    lead = ranked[:, 0] - (ranked[:, 1] if ranked.shape[1] > 1 else 0)
    instance = np.zeros(len(probability))
    return _labels(best_class(probability), ranked[:, 0], lead, instance, views, Reason.NO_RETURN)


def best_class(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N,) uint8 likeliest class of (N, C) probabilities; 255 for rows of zeros."""
    return np.where(probability.any(axis=1), probability.argmax(axis=1), UNLABELLED).astype(np.uint8)


def segments_as_labels(
    segments: Segments | None, raw_point: NDArray[np.int64], views: NDArray[np.uint8]
) -> PointLabels:
    """Labels of a frame from segments of its points.

    Args:
        segments: of the batch's points; None where it has none.
        raw_point: (N,) the point that answers for each raw one, `NONE` for those that are no return.
        views: see `as_labels`.

    Returns:
        As `as_labels`, with the objects' numbers; points in no segment have the reason ``NO_REGION``.
    """
    columns = np.zeros((4, len(raw_point)))
    columns[0] = UNLABELLED
    known = raw_point != NONE
    if segments is not None:
        found = (segments.label, segments.confidence, segments.margin, segments.instance)
        columns[:, known] = torch.stack([column.double().cpu() for column in found])[:, raw_point[known]]
    why = np.where(known, Reason.NO_REGION, Reason.NO_RETURN)
    label, confidence, margin, instance = columns
    return _labels(label, confidence, margin, instance, views, why)


def _labels(
    label: NDArray[Any],
    confidence: NDArray[Any],
    margin: NDArray[Any],
    instance: NDArray[Any],
    views: NDArray[np.uint8],
    why_not: Any,
) -> PointLabels:
    N = len(label)
    return PointLabels(
        label=label.astype(np.uint8),
        confidence=np.round(confidence * 255).astype(np.uint8),
        margin=np.round(margin * 255).astype(np.uint8),
        instance=instance.astype(np.uint16),
        region=np.full(N, NO_REGION, np.uint16),
        camera=np.full(N, NO_CAMERA, np.uint8),
        views=views,
        reason=np.where(label == UNLABELLED, why_not, Reason.LABELLED).astype(np.uint8),
    )


def _views(run: Run, frame_id: str) -> NDArray[np.uint8]:
    views: NDArray[np.uint8] = run.frame(frame_id).array("points/views")
    return views


def score(
    predictor: Predictor,
    run: Run,
    frames: Sequence[str],
    workers: int = 0,
    on_frame: Callable[[], None] | None = None,
) -> SegmentationScore:
    """Score a network against the truth, on all raw points of the frames, in one confusion matrix.

    Args:
        predictor: the network.
        run: with truth.
        frames: ids.
        workers: processes that make batches.
        on_frame: called after each frame.
    """
    found = SegmentationScore(run.taxonomy.names)
    for frame_id, probability in predictor(run, frames, workers):
        found.update(run.frame(frame_id).truth, best_class(probability))
        if on_frame:
            on_frame()
    return found


def score_labels(run: Run, frames: Sequence[str]) -> SegmentationScore:
    """Score the run's own labels in the same way: what a network trained on them has to beat."""
    found = SegmentationScore(run.taxonomy.names)
    for frame_id in frames:
        found.update(run.frame(frame_id).truth, run.frame(frame_id).labels.label)
    return found
