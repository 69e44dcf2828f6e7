"""Batches of a run's frames that do not depend on how many processes read them; our own trainer's stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from labelgen.data.dataset import DEFAULT_FIELDS
from labelgen.data.fields import Sample, Transform
from labelgen.data.loaders import worker_here
from labelgen.data.order import Position, deal_shards, order_frames
from labelgen.data.stream import Stream
from labelgen.core.errors import UserError
from labelgen.shards import StoredRun


class BatchStream(Stream):
    """An iterable data set of batches, lists of samples; the same ones with any number of workers.

    For ``DataLoader(stream, batch_size=None, collate_fn=collate)``. The order of the frames depends on (seed,
    epoch) alone. Ranks take batches of it in turn, and a rank's workers take its batches in turn, so that the
    loader gives them in order; in return every worker reads from all shards. All ranks give equally many:
    what does not fill the last batches is left out in this epoch, and of too few frames for one batch of
    every rank some come again.

    Args:
        run, fields, frames, shuffle, seed, window, prefetch, rank, world_size: see `ShardStream`.
        batch_size: frames of a batch of one rank.
        epochs: that one iteration gives, from the one that is set on, without a pause between them.
        transform: applied to each sample, where it is read; of this stream, they also hold their ``epoch``.

    Raises:
        UserError: no run there; a field or a frame that it does not have; no frames.
    """

    def __init__(
        self,
        run: StoredRun | str | Path,
        fields: Sequence[str] = DEFAULT_FIELDS,
        *,
        batch_size: int,
        epochs: int = 1,
        frames: Sequence[str] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        window: int = 64,
        prefetch: int = 2,
        rank: int | None = None,
        world_size: int | None = None,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(
            run, fields, frames=frames, shuffle=shuffle, seed=seed, window=window, prefetch=prefetch, rank=rank,
            world_size=world_size, transform=transform,
        )  # fmt: skip
        if batch_size < 1 or epochs < 1:
            raise UserError(f"batch_size {batch_size} or epochs {epochs} is too low")
        if not self._lengths:
            raise UserError(f"{self.run.url} has no frames to make batches from")
        self.batch_size, self.epochs = batch_size, epochs

    @property
    def per_epoch(self) -> int:
        """Batches that this rank gives in one epoch."""
        return batches_per_epoch(sum(self._lengths), self.batch_size, self._rank()[1])

    def __len__(self) -> int:
        return self.per_epoch * self.epochs

    def resume(self, epoch: int, batches: int) -> None:
        """Let the next iteration leave out what was given before it was stopped.

        Args:
            epoch: that was stopped, or that the stopped iteration began with.
            batches: of this rank since then; with how many workers does not matter.
        """
        self._begin(epoch, batches, 1)

    def __iter__(self) -> Iterator[list[Sample]]:
        rank, ranks = self._rank()
        worker, workers = worker_here()
        skip, per_epoch, size = self._yielded + int(self._start[1]), self.per_epoch, self.batch_size
        self._yielded = skip
        numbers = range(skip + worker, len(self), workers)
        for passed, of_epoch in groupby(numbers, lambda number: number // per_epoch):
            order = self._order(self.epoch + passed, per_epoch * ranks * size)
            begins = [(number % per_epoch * ranks + rank) * size for number in of_epoch]
            samples = self._read([place for begin in begins for place in order[begin : begin + size]])
            for _ in begins:
                batch = [self._transformed(sample, self.epoch + passed) for sample in islice(samples, size)]
                self._yielded += 1
                yield batch
        self._yielded = 0

    def _transformed(self, sample: Sample, epoch: int) -> Sample:
        sample["epoch"] = epoch
        return sample if self.transform is None else self.transform(sample)

    def _order(self, epoch: int, count: int) -> list[Position]:
        (dealt,) = deal_shards(self._lengths, 1, self.seed, epoch, self.shuffle)
        seed = (self.seed, epoch) if self.shuffle else None
        order = order_frames(dealt, self._lengths, self.window, seed)
        return [order[number % len(order)] for number in range(count)]


def batches_per_epoch(frames: int, batch_size: int, world_size: int = 1) -> int:
    """Batches of every rank in one epoch of a `BatchStream`; at least one."""
    return max(1, frames // (batch_size * world_size))
