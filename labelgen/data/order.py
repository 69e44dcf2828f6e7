"""Who reads which frames in which order: pure functions of (seed, epoch), the same on every rank.

Shards are shuffled and dealt out; within a consumer's share, frames are shuffled over a window of a few
shards, after the idea of py1e in mosaicml/streaming: every frame moves forward by a random part of the
window, so that a shard is needed for a short time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from labelgen.shards.schema import MAX_FRAMES

#: (number of the shard, number of the frame in it).
Position = tuple[int, int]


def deal_shards(
    lengths: Sequence[int], consumers: int, seed: int, epoch: int, shuffle: bool = True
) -> list[list[int]]:
    """Deal the shards out to consumers (workers of all ranks), about equally many frames to each.

    Args:
        lengths: frames of each shard.
        consumers: how many there are.
        seed: of the shuffling.
        epoch: of the shuffling.
        shuffle: False keeps the shards' order.

    Returns:
        Shards of each consumer, in the order in which it reads them.
    """
    order = np.arange(len(lengths))
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    shares: list[list[int]] = [[] for _ in range(consumers)]
    frames = [0] * consumers
    for shard in order.tolist():
        fewest = min(range(consumers), key=lambda consumer: (frames[consumer], consumer))
        shares[fewest].append(shard)
        frames[fewest] += lengths[shard]
    return shares


def order_frames(
    shards: Sequence[int], lengths: Sequence[int], window: int, seed: tuple[int, ...] | None
) -> list[Position]:
    """The frames of some shards in the order in which they are read.

    Args:
        shards: numbers of the shards, in order.
        lengths: frames of every shard, by its number.
        window: shards of 64 frames over which frames are shuffled; 1 shuffles within a shard.
        seed: of the shuffling; None keeps the order.

    Returns:
        Every frame of the shards once. Frames move by at most ``(window - 1) * 64``, so at any time frames
        of about ``window`` full shards are to come.
    """
    positions = [(shard, frame) for shard in shards for frame in range(lengths[shard])]
    if seed is None:
        return positions
    rng = np.random.default_rng(seed)
    starts = np.cumsum([0, *(lengths[shard] for shard in shards)])
    keys = np.empty(len(positions))
    for begin, end in pairwise(starts.tolist()):
        keys[begin:end] = begin + rng.random(end - begin) * (end - begin)
    keys += rng.random(len(positions)) * (window - 1) * MAX_FRAMES
    return [positions[index] for index in np.argsort(keys, kind="stable").tolist()]


def given_by_workers(batches_of: Sequence[int], taken: int) -> list[int]:
    """How many batches each worker of a ``DataLoader`` has given after so many in all.

    The loader asks its workers in turn and passes over those that have no more.

    Args:
        batches_of: batches that each worker has.
        taken: in all.
    """
    given = [0] * len(batches_of)
    worker = 0
    for _ in range(min(taken, sum(batches_of))):
        while given[worker] == batches_of[worker]:
            worker = (worker + 1) % len(given)
        given[worker] += 1
        worker = (worker + 1) % len(given)
    return given
