"""Frames of a run by number: for evaluation, inspection, and trainers that shuffle freely."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelgen.data.fields import Sample, Transform, choose_fields, read_sample
from labelgen.data.loaders import Dataset
from labelgen.shards import StoredRun

DEFAULT_FIELDS = ("points/label", "points/confidence", "points/region", "regions/feature")


class LabelDataset(Dataset[Any]):
    """A map-style data set of a run's labelled frames; item ``i`` is a dict of numpy arrays.

    No file stays open and nothing is locked, so workers may be forked or spawned at any time. For remote
    runs give the ``DataLoader`` ``multiprocessing_context="forkserver"``; a forked worker says so.

    Args:
        run: an open run, its folder, or its address.
        fields: names of arrays (docs/shard-format.md) or of the groups ``points``, ``views``, ``regions``.
        frames: ids of the frames to take, in this order; all by default, by scene and time.
        transform: applied to each item, where it is read.

    Raises:
        UserError: no run there; a field or a frame that it does not have.
    """

    def __init__(
        self,
        run: StoredRun | str | Path,
        fields: Sequence[str] = DEFAULT_FIELDS,
        *,
        frames: Sequence[str] | None = None,
        transform: Transform | None = None,
    ) -> None:
        self.run = run if isinstance(run, StoredRun) else StoredRun(run)
        self.fields = choose_fields(self.run, fields)
        self.frames = self.run.frames if frames is None else tuple(frames)
        self.transform = transform
        for frame_id in self.frames:
            self.run.entry(frame_id)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int) -> Sample:
        sample = read_sample(self.run.frame(self.frames[number]), self.fields)
        return sample if self.transform is None else self.transform(sample)
