"""Which frames make up which batch: a pure function of seed and step, whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from labelgen.data.order import deal_shards, order_frames
from labelgen.shards import StoredRun

#: Shards over which frames are shuffled: 4096 frames, of which a few shards are read at a time.
WINDOW = 64


class Batches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, number of the frame), batch after batch over all epochs, from any batch on.

    Workers get keys and know nothing of the order, so that results do not depend on how many there are.

    Args:
        run: whose shards say which frames lie together.
        frames: ids, in the order of their numbers.
        batch_size: frames of a batch of one process.
        seed: of the shuffling.
        total: batches in all.
        start: batches that were taken before.
        rank, world: of this process; all processes together take each frame once per epoch.
    """

    def __init__(
        self,
        run: StoredRun,
        frames: tuple[str, ...],
        batch_size: int,
        seed: int,
        total: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        number = {frame_id: n for n, frame_id in enumerate(frames)}
        self._shards = [[number[frame_id] for frame_id in shard] for shard in run.shards(frames)]
        self.batch_size, self.seed, self.total, self.start = batch_size, seed, total, start
        self.rank, self.world = rank, world
        self.per_epoch = batches_per_epoch(len(frames), batch_size, world)

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.zeros(0, np.int64)
        for batch in range(self.start, self.total):
            if batch // self.per_epoch != epoch:
                epoch = batch // self.per_epoch
                order = self._order(epoch)
            begin = (batch % self.per_epoch * self.world + self.rank) * self.batch_size
            yield [(epoch, int(n)) for n in order[begin : begin + self.batch_size]]

    def _order(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Frames of an epoch: what does not fill the last batches is left out; too few are repeated."""
        lengths = [len(shard) for shard in self._shards]
        dealt = deal_shards(lengths, 1, self.seed, epoch)[0]
        places = order_frames(dealt, lengths, WINDOW, (self.seed, epoch))
        order = np.array([self._shards[shard][frame] for shard, frame in places], np.int64)
        return np.resize(order, self.per_epoch * self.batch_size * self.world)


def batches_per_epoch(frames: int, batch_size: int, world: int = 1) -> int:
    """Batches that every process takes in one epoch; at least one."""
    return max(1, frames // (batch_size * world))
