"""Frames of a run as parts of a batch: augmented, thinned out, with neighbours."""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch.utils.data import DataLoader, Dataset

from labelgen.data.fields import read_sample
from labelgen.distill.augment import in_sector, move, normalise_intensity, voxelise
from labelgen.distill.batch import NONE, Batch
from labelgen.distill.classes import ClassSplit
from labelgen.distill.config import DataConfig
from labelgen.distill.needs import arrays_for, cloud_of
from labelgen.distill.targets import TargetReader, from_zero
from labelgen.errors import FrameError, LabelgenError, UserError
from labelgen.records import NO_REGION
from labelgen.runs import Run

#: Arrays of one frame, by the names of `Batch`; numbers count within the frame.
Part = dict[str, Any]
#: Fields of `Batch` that number the points, the regions, or the objects, of their frame.
POINT_NUMBERS = ("neighbours", "view_point", "raw_point")
REGION_NUMBERS = ("view_region",)
OBJECT_NUMBERS = ("instance",)
_PLAIN = {
    "region_camera": ("regions/camera", np.int64),
    "region_label": ("regions/label", np.int64),
    "region_scores": ("regions/class_scores", np.float32),
    "region_feature": ("regions/feature", np.float32),
    "caption_feature": ("regions/caption_feature", np.float32),
}


@dataclass
class _Cloud:
    xyz: NDArray[np.float32]
    intensity: NDArray[np.float32]
    label: NDArray[np.uint8] | None = None
    confidence: NDArray[np.float32] | None = None
    instance: NDArray[np.int64] | None = None


class Samples(Dataset[Part]):
    """Parts of batches by (epoch, number of the frame); randomness depends on seed, epoch and frame alone.

    Args:
        run: to read from.
        frames: ids, in the order of their numbers.
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
        self.arrays = arrays_for(run, needs, truth)
        self.neighbours, self.bounds, self.seed, self.training = neighbours, bounds, seed, training
        self.targets: TargetReader | None = None
        if "label" in needs:
            self.targets = TargetReader(
                run, frames, needs, truth=truth, min_confidence=config.min_confidence, classes=classes
            )
        if config.polarmix and self.views:
            raise UserError("data.polarmix mixes frames, whose views would be lost; set it to 0 here")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: tuple[int, int]) -> Part:
        epoch, number = key
        frame_id = self.frames[number]
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(frame_id.encode())])
        stored = read_sample(self.run.frame(frame_id), self.arrays)
        cloud = self._cloud(frame_id, stored)
        if self.training and self.config.polarmix and rng.random() < self.config.polarmix:
            cloud = self._mixed(cloud, rng)
        moved = move(cloud.xyz, self.config, rng) if self.training else cloud.xyz
        chosen, inverse = self._thin(moved, rng)
        part: Part = {"frame_id": frame_id, "xyz": moved[chosen]}
        distance = np.linalg.norm(part["xyz"], axis=1, keepdims=True)
        part["inputs"] = np.concatenate([cloud.intensity[chosen, None], part["xyz"], distance], axis=1)
        if cloud.label is not None and cloud.confidence is not None:
            part["label"] = cloud.label[chosen].astype(np.int64)
            part["confidence"] = cloud.confidence[chosen]
        if cloud.instance is not None:
            part["instance"] = from_zero(cloud.instance[chosen])
        if self.neighbours:
            part["neighbours"] = nearest(part["xyz"], self.neighbours)
        if not self.training:
            part["raw_point"] = self._answering(moved, chosen, inverse)
        return part | self._views(stored, inverse) | self._regions(stored)

    def _cloud(self, frame_id: str, stored: dict[str, Any]) -> _Cloud:
        xyz, intensity = cloud_of(self.run.frame(frame_id))
        intensity = normalise_intensity(intensity, self.run.planned(frame_id).lidar_layout)
        if self.targets is None:
            return _Cloud(xyz, intensity)
        found = self.targets(frame_id, stored)
        return _Cloud(xyz, intensity, found.label, found.confidence, found.instance)

    def _mixed(self, cloud: _Cloud, rng: np.random.Generator) -> _Cloud:
        """A sector of the cloud replaced by the same one of another frame."""
        other_id = self.frames[int(rng.integers(len(self.frames)))]
        other = self._cloud(other_id, read_sample(self.run.frame(other_id), self.arrays))
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

    def _views(self, stored: dict[str, Any], inverse: NDArray[np.int64]) -> Part:
        if not self.views:
            return {}
        point = inverse[stored["views/point"].astype(np.int64)]
        keep = point != NONE
        if self.config.visible_only:
            keep &= stored["views/visible"]
        part: Part = {"view_point": point[keep]}
        if "view_camera" in self.needs:
            part["view_camera"] = stored["views/camera"][keep].astype(np.int64)
        if "view_uv" in self.needs:
            part["view_uv"] = stored["views/uv"][keep]
        if "view_region" in self.needs:
            region = stored["views/region"][keep].astype(np.int64)
            part["view_region"] = np.where(region == NO_REGION, NONE, region)
        return part

    def _regions(self, stored: dict[str, Any]) -> Part:
        part: Part = {}
        for name, (array, kind) in _PLAIN.items():
            if name in self.needs:
                part[name] = stored[array].astype(kind)
        if any(name.startswith("regions/") for name in stored):
            part["regions"] = next(len(rows) for name, rows in stored.items() if name.startswith("regions/"))
        return part


def nearest(xyz: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(n, count) nearest other points, nearest first; of too few points, some again."""
    if len(xyz) < 2:
        return np.zeros((len(xyz), count), np.int64)
    most = min(count + 1, len(xyz))
    tree = cKDTree(xyz, balanced_tree=False, compact_nodes=False)
    found = tree.query(xyz, most)[1][:, 1:].astype(np.int64)
    return np.take(found, np.arange(count) % (most - 1), axis=1)


def batches_of(
    samples: Samples, order: Iterable[list[tuple[int, int]]], workers: int, pinned: bool = False
) -> Iterator[Batch]:
    """Batches made by worker processes; equal whatever their number.

    Args:
        samples: of the frames.
        order: keys of each batch.
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
        samples,
        batch_sampler=order,
        collate_fn=join,
        num_workers=workers,
        pin_memory=pinned,
        generator=torch.Generator(),  # the default one's state belongs to the methods' draws
        multiprocessing_context=context,
    )
    try:
        yield from made
    except LabelgenError as error:
        kind = FrameError if isinstance(error, FrameError) else UserError
        raise kind(plain(error.as_given())) from error


def plain(message: str) -> str:
    """The message of an error itself, of one that a worker sent with its whole traceback."""
    last = message.strip().splitlines()[-1] if message.strip() else message
    return last.partition("Error: ")[2] if last.startswith("labelgen.errors.") else last


def join(parts: Sequence[Part]) -> Batch:
    """One batch of several frames' parts, for ``DataLoader(..., collate_fn=join)``."""
    names = [name for name in parts[0] if name not in ("frame_id", "regions")]
    points = np.cumsum([0, *(len(part["xyz"]) for part in parts)])
    regions = np.cumsum([0, *(part.get("regions", 0) for part in parts)])
    objects = np.cumsum([0, *(_objects(part) for part in parts)])
    starts_of = dict.fromkeys(POINT_NUMBERS, points) | dict.fromkeys(REGION_NUMBERS, regions)
    starts_of |= dict.fromkeys(OBJECT_NUMBERS, objects)
    joined: dict[str, Any] = {}
    for name in names:
        starts = starts_of.get(name)
        rows = [part[name] for part in parts]
        if starts is not None:
            rows = [
                np.where(row == NONE, NONE, row + start) for row, start in zip(rows, starts, strict=False)
            ]
        joined[name] = torch.from_numpy(np.concatenate(rows))
    joined["frame"] = _owner([len(part["xyz"]) for part in parts])
    if "regions" in parts[0]:
        joined["region_frame"] = _owner([part["regions"] for part in parts])
    if "raw_point" in parts[0]:
        joined["raw_frame"] = _owner([len(part["raw_point"]) for part in parts])
    return Batch(frame_id=tuple(part["frame_id"] for part in parts), **joined)


def _objects(part: Part) -> int:
    return int(part["instance"].max(initial=NONE)) + 1 if "instance" in part else 0


def _owner(lengths: Sequence[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
