"""What our trainer makes of a frame that `labelgen.data` reads: augmented, thinned out, with neighbours."""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from labelgen.core.errors import LabelgenError, UserError
from labelgen.core.records import NO_REGION
from labelgen.data import BatchStream, LabelDataset, collate
from labelgen.data.fields import Sample, read_sample
from labelgen.distill.augment import in_sector, move, normalise_intensity, voxelise
from labelgen.distill.batch import NONE, Batch
from labelgen.distill.classes import ClassSplit
from labelgen.distill.config import DataConfig
from labelgen.distill.needs import arrays_for, cloud_of
from labelgen.distill.targets import TargetReader, from_zero
from labelgen.runs import Run

#: {field of `Batch`: field of a sample that the transform gives}.
_FIELDS = {
    "xyz": "points/xyz",
    "inputs": "points/inputs",
    "label": "points/label",
    "confidence": "points/confidence",
    "instance": "points/instance",
    "neighbours": "points/neighbours",
    "view_point": "views/point",
    "view_camera": "views/camera",
    "view_uv": "views/uv",
    "view_region": "views/region",
    "region_camera": "regions/camera",
    "region_label": "regions/label",
    "region_scores": "regions/class_scores",
    "region_feature": "regions/feature",
    "caption_feature": "regions/caption_feature",
    "raw_point": "raw/point",
}
#: Fields of a sample that number the points or the regions of their frame.
_NUMBERS = {
    "points/neighbours": "points",
    "views/point": "points",
    "raw/point": "points",
    "views/region": "regions",
}
_INTEGERS = ("regions/camera", "regions/label")


@dataclass
class _Cloud:
    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    label: NDArray[np.uint8] | None = None
    confidence: NDArray[np.float32] | None = None
    instance: NDArray[np.int64] | None = None


class FrameTransform:
    """The ``transform`` of a stream or data set: a stored frame in, what a network sees of it out.

    Randomness depends on seed, epoch and frame alone.

    Attributes:
        fields: of the run, that the stream or data set is to read.

    Args:
        run: to read clouds and truth from.
        frames: ids of all that will be seen.
        needs: optional fields of `Batch` that are wanted.
        config: of the data.
        neighbours: of each point; 0 for none.
        bounds: two corners, metres; points beyond them are left out. None: no bounds.
        seed: of what is random.
        training: whether points are augmented and limited in number; otherwise ``raw_point`` is given.
        truth: labels and instances are the data set's instead of the run's; see `TargetReader`.
        classes: its novel classes are hidden: their points come without label and instance.

    Raises:
        UserError: the run lacks what a field is made from (names it, and what makes it).
    """

    def __init__(
        self,
        run: Run,
        frames: Sequence[str],
        needs: Sequence[str],
        config: DataConfig,
        *,
        neighbours: int,
        bounds: tuple[Sequence[float], Sequence[float]] | None,
        seed: int = 0,
        training: bool = True,
        truth: bool = False,
        classes: ClassSplit | None = None,
    ) -> None:
        if "instance" in needs:
            needs = [*needs, "label"]
        self.views = any(name.startswith("view_") for name in needs)
        needs = [*needs, *(["view_point"] if self.views else [])]
        self.run, self.frames, self.needs, self.config = run, tuple(frames), frozenset(needs), config
        self.fields = arrays_for(run, needs, truth)
        self.neighbours, self.bounds, self.seed, self.training = neighbours, bounds, seed, training
        self.targets: TargetReader | None = None
        if "label" in needs:
            self.targets = TargetReader(
                run, frames, needs, truth=truth, min_confidence=config.min_confidence, classes=classes
            )
        if config.polarmix and self.views:
            raise UserError("data.polarmix mixes frames, whose views would be lost; set it to 0 here")

    def __call__(self, stored: Sample) -> Sample:
        """Make a sample for `join`.

        Args:
            stored: ``frame_id``, ``fields``, and, in training, ``epoch``.

        Returns:
            ``frame_id`` and arrays, see `Batch`, whose numbers count within the frame.

        Raises:
            FrameError: a raw file is missing or damaged.
        """
        frame_id = stored["frame_id"]
        rng = np.random.default_rng([self.seed, stored.get("epoch", 0), zlib.crc32(frame_id.encode())])
        cloud = self._cloud(frame_id, stored)
        if self.training and self.config.polarmix and rng.random() < self.config.polarmix:
            cloud = self._mixed(cloud, rng)
        moved = move(cloud.xyz, self.config, rng) if self.training else cloud.xyz
        chosen, inverse = self._thin(moved, rng)
        xyz = moved[chosen]
        distance = np.linalg.norm(xyz, axis=1, keepdims=True)
        inputs = np.concatenate([cloud.intensity[chosen, None], xyz, distance], axis=1)
        sample: Sample = {"frame_id": frame_id, "points/xyz": xyz, "points/inputs": inputs}
        if cloud.label is not None and cloud.confidence is not None:
            sample["points/label"] = cloud.label[chosen].astype(np.int64)
            sample["points/confidence"] = cloud.confidence[chosen]
        if cloud.instance is not None:
            sample["points/instance"] = from_zero(cloud.instance[chosen])
        if self.neighbours:
            sample["points/neighbours"] = nearest(xyz, self.neighbours)
        if not self.training:
            sample["raw/point"] = self._answering(moved, chosen, inverse)
        return sample | self._views(stored, inverse) | _regions(stored)

    def _cloud(self, frame_id: str, stored: Sample) -> _Cloud:
        xyz, intensity = cloud_of(self.run.frame(frame_id))
        intensity = normalise_intensity(intensity, self.run.planned(frame_id).lidar_layout)
        if self.targets is None:
            return _Cloud(xyz, intensity)
        found = self.targets(frame_id, stored)
        return _Cloud(xyz, intensity, found.label, found.confidence, found.instance)

    def _mixed(self, cloud: _Cloud, rng: np.random.Generator) -> _Cloud:
        """A sector of the cloud replaced by the same one of another frame."""
        other_id = self.frames[int(rng.integers(len(self.frames)))]
        other = self._cloud(other_id, read_sample(self.run.frame(other_id), self.fields))
        if cloud.instance is not None and other.instance is not None:
            other.instance[other.instance != NONE] += len(cloud.xyz)  # objects of the two stay apart
        begin, width = rng.uniform(-np.pi, np.pi), rng.uniform(np.pi / 4, np.pi)
        keep, take = ~in_sector(cloud.xyz, begin, width), in_sector(other.xyz, begin, width)

        def join(name: str) -> Any:
            ours, theirs = getattr(cloud, name), getattr(other, name)
            return None if ours is None else np.concatenate([ours[keep], theirs[take]])

        return _Cloud(*(join(name) for name in ("xyz", "intensity", "label", "confidence", "instance")))

    def _thin(
        self, xyz: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Raw rows of the points that are kept, and for every raw row its point's number or `NONE`."""
        inside = np.isfinite(xyz).all(axis=1)
        if self.bounds is not None:
            low, high = np.array(self.bounds, np.float32)
            inside &= ((xyz >= low) & (xyz < high)).all(axis=1)  # False for NaN
        rows = np.flatnonzero(inside)
        chosen, voxel = voxelise(xyz[rows], self.config.voxel, rng if self.training else None)
        inverse = np.full(len(xyz), NONE, np.int64)
        inverse[rows] = voxel
        most = self.config.max_points
        if self.training and most is not None and len(chosen) > most:
            kept = xyz[rows[chosen]]
            away = ((kept - kept[rng.integers(len(kept))]) ** 2).sum(axis=1)
            near = np.sort(np.argpartition(away, most)[:most])
            number = np.full(len(chosen) + 1, NONE, np.int64)  # the last one answers for NONE
            number[near] = np.arange(most)
            chosen, inverse = chosen[near], number[inverse]
        return rows[chosen], inverse

    def _answering(
        self, xyz: NDArray[np.float32], chosen: NDArray[np.int64], inverse: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Points that were left out take the answer of the nearest one."""
        lost = (inverse == NONE) & np.isfinite(xyz).all(axis=1)
        answer = inverse.copy()
        if lost.any() and len(chosen):
            answer[lost] = cKDTree(xyz[chosen]).query(xyz[lost])[1]
        return answer

    def _views(self, stored: Sample, inverse: NDArray[np.int64]) -> Sample:
        if not self.views:
            return {}
        point = inverse[stored["views/point"].astype(np.int64)]
        keep = point != NONE
        if self.config.visible_only:
            keep &= stored["views/visible"]
        sample: Sample = {"views/point": point[keep]}
        if "view_camera" in self.needs:
            sample["views/camera"] = stored["views/camera"][keep].astype(np.int64)
        if "view_uv" in self.needs:
            sample["views/uv"] = stored["views/uv"][keep]
        if "view_region" in self.needs:
            region = stored["views/region"][keep].astype(np.int64)
            sample["views/region"] = np.where(region == NO_REGION, NONE, region)
        return sample


def _regions(stored: Sample) -> Sample:
    return {
        name: rows.astype(np.int64 if name in _INTEGERS else np.float32)
        for name, rows in stored.items()
        if name.startswith("regions/")
    }


def nearest(xyz: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(n, count) nearest other points, nearest first; of too few points, some again."""
    if len(xyz) < 2:
        return np.zeros((len(xyz), count), np.int64)
    most = min(count + 1, len(xyz))
    tree = cKDTree(xyz, balanced_tree=False, compact_nodes=False)
    found = tree.query(xyz, most)[1][:, 1:].astype(np.int64)
    return np.take(found, np.arange(count) % (most - 1), axis=1)


def batches_of(frames: BatchStream | LabelDataset, workers: int, pinned: bool = False) -> Iterator[Batch]:
    """Batches made by worker processes; equal whatever their number.

    Args:
        frames: with a `FrameTransform`; the frames of a `LabelDataset` come one by one.
        workers: processes; 0: this one.
        pinned: in memory that a GPU can fetch.

    Raises:
        FrameError: a frame cannot be read; names it.
        UserError: something in its shard is damaged.
    """
    context = None
    if workers:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])  # what takes seconds is imported once, not by each worker
    made: DataLoader[Any] = DataLoader(
        _OneByOne(frames) if isinstance(frames, LabelDataset) else _Stream(frames),
        batch_size=1 if isinstance(frames, LabelDataset) else None,
        collate_fn=_join,
        num_workers=workers,
        pin_memory=pinned,
        generator=torch.Generator(),  # the default one's state belongs to the methods' draws
        multiprocessing_context=context,
    )
    for batch in made:
        if isinstance(batch, LabelgenError):
            raise batch
        yield batch


class _Stream(IterableDataset[Any]):
    """Batches of samples, and in the place of one that cannot be read its error.

    A ``DataLoader`` makes text of an error that a worker raises; given as a sample it stays what it is.
    """

    def __init__(self, frames: BatchStream) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.frames
        except LabelgenError as error:
            yield [error]


class _OneByOne(Dataset[Any]):
    """As `_Stream`, sample by sample."""

    def __init__(self, frames: LabelDataset) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.frames[index]
        except LabelgenError as error:
            return error


def _join(samples: Sequence[Any]) -> Batch | LabelgenError:
    error = next((sample for sample in samples if isinstance(sample, LabelgenError)), None)
    return join(samples) if error is None else error


def join(samples: Sequence[Sample]) -> Batch:
    """One batch of several frames' samples, for ``DataLoader(..., collate_fn=join)``: numbers count on."""
    rows = collate(samples)
    starts = {name.partition("/")[0]: start for name, start in rows.items() if name.endswith("/offsets")}
    owner = {group: torch.repeat_interleave(start.diff()) for group, start in starts.items()}
    for name, counted in _NUMBERS.items():
        if name in rows:
            rows[name] = _count_on(rows[name], starts[counted][owner[name.partition("/")[0]]])
    if "points/instance" in rows:
        objects = np.cumsum([0, *(sample["points/instance"].max(initial=NONE) + 1 for sample in samples)])
        start = torch.from_numpy(objects)[owner["points"]]
        rows["points/instance"] = _count_on(rows["points/instance"], start)
    return Batch(
        frame_id=tuple(rows["frame_id"]),
        frame=owner["points"],
        region_frame=owner.get("regions"),
        raw_frame=owner.get("raw"),
        **{field: rows[name] for field, name in _FIELDS.items() if name in rows},
    )


def _count_on(number: Tensor, start: Tensor) -> Tensor:
    """Numbers within a frame as numbers within the batch; `NONE` stays."""
    start = start.view(-1, *[1] * (number.ndim - 1))
    return torch.where(number == NONE, NONE, number + start)
