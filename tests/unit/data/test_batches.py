"""BatchStream: the same batches in the same order whoever reads them, and after any stop."""

from __future__ import annotations

import os
import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from labelgen.data import BatchStream, ShardStream, collate
from labelgen.data.batches import batches_per_epoch
from labelgen.core.errors import UserError
from tests.helpers.runs import make_run, some_records, write

SIZES = [3, 1, 4, 2, 5]
FIELDS = ("points/label",)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        path = make_run(tmp_path_factory.mktemp("data") / "run")
        everything = some_records(count=sum(SIZES), points=30, regions=5)
        for size in SIZES:
            write(path, everything[:size])
            del everything[:size]
    return path


def ids(stream: BatchStream) -> list[tuple[str, ...]]:
    return [tuple(sample["frame_id"] for sample in batch) for batch in stream]


def test_an_epoch_gives_every_frame_once_but_what_fills_no_batch(run: Path) -> None:
    stream = BatchStream(run, FIELDS, batch_size=4, epochs=3)
    batches = ids(stream)
    assert len(batches) == len(stream) == 3 * 3
    epochs = [list(chain.from_iterable(batches[begin : begin + 3])) for begin in (0, 3, 6)]
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    later = BatchStream(run, FIELDS, batch_size=4)
    later.set_epoch(2)
    assert ids(later) == batches[6:]
    assert ids(BatchStream(run, FIELDS, batch_size=4, seed=1)) != batches[:3]
    straight = BatchStream(run, FIELDS, batch_size=5, shuffle=False)
    whole = ShardStream(run, FIELDS, shuffle=False)
    assert list(chain.from_iterable(ids(straight))) == [sample["frame_id"] for sample in whole]


def test_ranks_take_batches_of_one_order_in_turn(run: Path) -> None:
    whole = ids(BatchStream(run, FIELDS, batch_size=2))
    one, two = (ids(BatchStream(run, FIELDS, batch_size=2, rank=rank, world_size=2)) for rank in (0, 1))
    assert [batch for pair in zip(one, two, strict=True) for batch in pair] == whole[:6]


def test_of_too_few_frames_some_come_again(run: Path) -> None:
    few = BatchStream(run, FIELDS, frames=["frame-3"], batch_size=3, epochs=2)
    assert ids(few) == [("frame-3",) * 3] * 2
    assert batches_per_epoch(7, 2, 2) == 1
    assert batches_per_epoch(8, 2, 2) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing_and_a_stop_neither(run: Path, workers: int) -> None:
    expected = ids(BatchStream(run, FIELDS, batch_size=2, epochs=2))
    for taken in (0, 5, 9):
        stream = BatchStream(run, FIELDS, batch_size=2, epochs=2)
        stream.resume(0, taken)
        loader: Any = DataLoader(stream, batch_size=None, collate_fn=collate, num_workers=workers)
        assert [tuple(batch["frame_id"]) for batch in loader] == expected[taken:]


def test_state_goes_on_where_it_was_taken(run: Path) -> None:
    whole = ids(BatchStream(run, FIELDS, batch_size=2, epochs=2))
    stream = BatchStream(run, FIELDS, batch_size=2, epochs=2)
    stream.resume(0, 2)
    iterator = iter(stream)
    for _ in range(6):
        next(iterator)
    again = BatchStream(run, FIELDS, batch_size=2, epochs=2)
    again.load_state_dict(pickle.loads(pickle.dumps(stream.state_dict())))
    assert ids(again) == whole[8:]
    with pytest.raises(UserError, match="seed 0"):
        BatchStream(run, FIELDS, batch_size=2, seed=3).load_state_dict(stream.state_dict())


def test_a_transform_knows_the_epoch(run: Path) -> None:
    def draw(sample: dict[str, Any]) -> dict[str, Any]:
        return {"frame_id": sample["frame_id"], "points/epoch": np.full(2, sample["epoch"])}

    stream = BatchStream(run, FIELDS, batch_size=5, epochs=2, transform=draw)
    stream.set_epoch(3)
    assert [collate(batch)["points/epoch"].unique().tolist() for batch in stream] == [[3]] * 3 + [[4]] * 3
    plain = BatchStream(run, FIELDS, batch_size=2)
    assert collate(next(iter(plain)))["epoch"] == [0, 0]


def test_a_worker_that_was_not_forked_knows_its_rank(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = BatchStream(run, FIELDS, batch_size=1)
    monkeypatch.setattr("labelgen.data.stream.rank_here", lambda: (1, 2))
    sent = pickle.loads(pickle.dumps(stream))
    monkeypatch.undo()
    assert ids(sent) == ids(BatchStream(run, FIELDS, batch_size=1, rank=1, world_size=2))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1, "epochs": 0}])
def test_what_cannot_be_is_refused(run: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="too low"):
        BatchStream(run, FIELDS, **wrong)
    with pytest.raises(UserError, match="no frames"):
        BatchStream(run, FIELDS, batch_size=1, frames=[])
    with pytest.raises(UserError, match="need 0 or more batches"):
        BatchStream(run, FIELDS, batch_size=1).resume(0, -1)
