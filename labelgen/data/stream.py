"""All frames of a run, shard by shard: the fast way to train, on any number of ranks and workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from labelgen.data.dataset import DEFAULT_FIELDS
from labelgen.data.fields import Sample, Transform, arrays_of, choose_fields, read_sample
from labelgen.data.loaders import IterableDataset, rank_here, shared_numbers, worker_here
from labelgen.data.order import Position, deal_shards, given_by_workers, order_frames
from labelgen.core.errors import UserError
from labelgen.shards import StoredRun


class Stream(IterableDataset[Any]):
    """What streams share: a run's frames by shard, where an iteration begins, reading ahead of it.

    Args: see `ShardStream`.
    """

    def __init__(
        self,
        run: StoredRun | str | Path,
        fields: Sequence[str],
        *,
        frames: Sequence[str] | None,
        shuffle: bool,
        seed: int,
        window: int,
        prefetch: int,
        rank: int | None,
        world_size: int | None,
        transform: Transform | None,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise UserError("give both rank and world_size, or neither")
        if window < 1 or prefetch < 0 or seed < 0:
            raise UserError(f"window {window}, prefetch {prefetch} or seed {seed} is too low")
        self.run = run if isinstance(run, StoredRun) else StoredRun(run)
        self.fields = choose_fields(self.run, fields)
        self.shuffle, self.seed, self.window, self.prefetch = shuffle, seed, window, prefetch
        self.transform = transform
        self._place = None if rank is None or world_size is None else (rank, world_size)
        self._shards = self.run.shards(frames)
        self._lengths = [len(shard) for shard in self._shards]
        self._yielded = 0
        # Epoch, batches and batch size of `resume`: shared, so that workers that live on see them too.
        self._start = shared_numbers(3)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; to be called before each epoch, in the main process."""
        self._begin(epoch, 0, 1)

    def state_dict(self) -> dict[str, int]:
        """Where this process is in the epoch: for iteration without workers, or loaders that ask workers."""
        return {"seed": self.seed, "epoch": self.epoch, "yielded": self._yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on where `state_dict` was taken, with as many ranks and workers.

        Raises:
            UserError: the state is of a stream with another seed, which has another order.
        """
        if state["seed"] != self.seed:
            raise UserError(f"the state was saved with seed {state['seed']}; this stream has {self.seed}")
        self._begin(state["epoch"], 0, 1)
        self._yielded = state["yielded"]

    @property
    def epoch(self) -> int:
        """Of the next iteration."""
        return int(self._start[0])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_place": self._rank()}  # a worker that was not forked knows no other ranks

    def _begin(self, epoch: int, batches: int, batch_size: int) -> None:
        if batches < 0 or batch_size < 1:
            raise UserError(f"{batches} batches of {batch_size}: need 0 or more batches of 1 or more")
        for place, number in enumerate((epoch, batches, batch_size)):
            self._start[place] = number
        self._yielded = 0

    def _read(self, order: Sequence[Position]) -> Iterator[Sample]:
        """The frames as stored, each after its shard and the next ones were asked for."""
        shards = list(dict.fromkeys(shard for shard, _ in order))
        place = {shard: number for number, shard in enumerate(shards)}
        asked: list[Future[None]] = []
        pool = ThreadPoolExecutor(max(1, self.prefetch), "prefetch")
        try:
            for shard, number in order:
                if self.prefetch:
                    for coming in shards[len(asked) : place[shard] + self.prefetch + 1]:
                        first = self._shards[coming][0]
                        asked.append(pool.submit(self.run.prefetch, first, arrays_of(self.fields)))
                    asked[place[shard]].result()  # what went wrong is raised here
                yield read_sample(self.run.frame(self._shards[shard][number]), self.fields)
        finally:
            pool.shutdown(cancel_futures=True)

    def _rank(self) -> tuple[int, int]:
        return rank_here() if self._place is None else self._place


class ShardStream(Stream):
    """An iterable data set of a run's labelled frames; items are dicts of numpy arrays.

    The shards are dealt out to ranks and workers anew in every epoch, by (seed, epoch) alone: together they
    give every frame once. A shard's files are asked for whole, ahead of time; of a remote run they are
    copied into the local cache (`labelgen.io.remote`), whose limit in bytes holds however many shards
    there are. No file stays open, so workers may be forked or spawned; for remote runs give the
    ``DataLoader`` ``multiprocessing_context="forkserver"``.

    Args:
        run: an open run, its folder, or its address.
        fields: names of arrays (docs/shard-format.md) or of the groups ``points``, ``views``, ``regions``.
        frames: ids of the frames to take; all by default.
        shuffle: False: shards and frames in their order.
        seed: of the shuffling.
        window: shards over which frames are shuffled.
        prefetch: shards that are asked for ahead of time.
        rank, world_size: of this process; by default those of `torch.distributed`, if it is initialised.
        even: every rank and worker gives equally many frames; what is over is left out in this epoch. For
            trainers whose ranks must make equally many steps.
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
        shuffle: bool = True,
        seed: int = 0,
        window: int = 4,
        prefetch: int = 2,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(
            run, fields, frames=frames, shuffle=shuffle, seed=seed, window=window, prefetch=prefetch, rank=rank,
            world_size=world_size, transform=transform,
        )  # fmt: skip
        self.even = even

    def __len__(self) -> int:
        """Frames that this rank gives, with as many workers as there are now."""
        rank, ranks = self._rank()
        return sum(self._counts(ranks, worker_here()[1])[rank])

    def resume(self, epoch: int, batches: int, batch_size: int = 1) -> None:
        """Let the next iteration leave out what a ``DataLoader`` gave before it was stopped.

        Args:
            epoch: that was stopped.
            batches: that the main process of this rank took from its loader.
            batch_size: of the loader, which must have as many workers as before.
        """
        self._begin(epoch, batches, batch_size)

    def __iter__(self) -> Iterator[Sample]:
        rank, ranks = self._rank()
        worker, workers = worker_here()
        skip, (_, batches, size) = self._yielded, self._start.tolist()
        if batches:
            batches_of = [math.ceil(frames / size) for frames in self._counts(ranks, workers)[rank]]
            skip = given_by_workers(batches_of, batches)[worker] * size
        order = self._order(rank * workers + worker, ranks * workers)[skip:]
        self._yielded = skip
        for sample in self._read(order):
            self._yielded += 1
            yield sample if self.transform is None else self.transform(sample)
        self._yielded = 0

    def _order(self, consumer: int, consumers: int) -> list[Position]:
        shares = deal_shards(self._lengths, consumers, self.seed, self.epoch, self.shuffle)
        seed = (self.seed, self.epoch, consumer) if self.shuffle else None
        order = order_frames(shares[consumer], self._lengths, self.window, seed)
        return order[: min(self._frames_of(shares))] if self.even else order

    def _counts(self, ranks: int, workers: int) -> list[list[int]]:
        """Frames by rank and worker."""
        shares = deal_shards(self._lengths, ranks * workers, self.seed, self.epoch, self.shuffle)
        frames = self._frames_of(shares)
        if self.even:
            frames = [min(frames)] * len(frames)
        return [frames[rank * workers : (rank + 1) * workers] for rank in range(ranks)]

    def _frames_of(self, shares: Sequence[Sequence[int]]) -> list[int]:
        return [sum(self._lengths[shard] for shard in share) for share in shares]
