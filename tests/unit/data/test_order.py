"""The order of frames: every frame once, the same everywhere, near its shard."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.data.order import deal_shards, given_by_workers, order_frames

LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=40)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(0, 2**31), st.integers(0, 100))
def test_every_shard_is_dealt_once(lengths: list[int], consumers: int, seed: int, epoch: int) -> None:
    shares = deal_shards(lengths, consumers, seed, epoch)
    assert sorted(shard for share in shares for shard in share) == list(range(len(lengths)))
    assert shares == deal_shards(lengths, consumers, seed, epoch)
    frames = [sum(lengths[shard] for shard in share) for share in shares]
    assert max(frames) - min(frames) <= max(lengths)


def test_epochs_and_seeds_differ() -> None:
    orders = {str(deal_shards([64] * 30, 2, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert deal_shards([64] * 4, 2, 0, 0, shuffle=False) == [[0, 2], [1, 3]]


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 6), st.integers(0, 2**31))
def test_frames_come_once_and_shards_are_needed_for_a_short_time(
    lengths: list[int], window: int, seed: int
) -> None:
    shards = list(range(len(lengths)))
    order = order_frames(shards, lengths, window, (seed,))
    everything = [(shard, frame) for shard in shards for frame in range(lengths[shard])]
    assert sorted(order) == everything
    place = {position: number for number, position in enumerate(order)}
    starts = np.cumsum([0, *lengths])
    reach = (window - 1) * 64 + 64
    for (shard, _), number in place.items():
        assert starts[shard] - reach <= number <= starts[shard] + lengths[shard] + reach
    assert order_frames(shards, lengths, window, None) == everything


def test_the_window_mixes_shards() -> None:
    shards, lengths = list(range(8)), [64] * 8
    apart = order_frames(shards, lengths, 1, (0,))
    assert [shard for shard, _ in apart] == sorted(shard for shard, _ in apart)
    assert apart != sorted(apart)
    mixed = order_frames(shards, lengths, 4, (0,))
    assert len({shard for shard, _ in mixed[128:192]}) >= 3


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 40))
def test_batches_of_workers_add_up(batches: list[int], taken: int) -> None:
    given_ = given_by_workers(batches, taken)
    assert sum(given_) == min(taken, sum(batches))
    assert all(0 <= some <= most for some, most in zip(given_, batches, strict=True))
