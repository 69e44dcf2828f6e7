"""LabelDataset and ShardStream: what was stored, once, on any number of ranks and workers."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import labelgen
from labelgen.data import LabelDataset, ShardStream, collate
from labelgen.core.errors import UserError
from labelgen.shards import Parent, StoredRun, create_run, write_shard
from tests.helpers.runs import FINGERPRINT, make_run, some_records, write

FIELDS = ("points/label", "views", "regions/feature")
SIZES = [3, 1, 4, 2, 5]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        path = make_run(tmp_path_factory.mktemp("data") / "run")
        everything = records()
        for size in SIZES:
            write(path, everything[:size])
            del everything[:size]
    return path


def records() -> list[Any]:
    return some_records(count=sum(SIZES), points=30, regions=5)


def test_items_are_what_was_stored(run: Path) -> None:
    data = labelgen.LabelDataset(run, FIELDS)
    assert len(data) == sum(SIZES)
    by_id = {record.frame_id: record for record in records()}
    for number in range(len(data)):
        sample = data[number]
        record = by_id[sample["frame_id"]]
        assert np.array_equal(sample["points/label"], record.labels.label)
        assert np.array_equal(sample["regions/feature"], record.semantics.feature)
        assert np.array_equal(sample["views/point"], record.views.point)
        assert np.abs(sample["views/uv"] - record.views.uv).max() <= 1 / 64
    some = LabelDataset(
        run, ["points/label"], frames=["frame-3", "frame-1"], transform=lambda s: s["frame_id"]
    )
    assert [some[k] for k in range(2)] == ["frame-3", "frame-1"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [(["points/xyz"], "store_points"), (["labels"], "no field 'labels'"), (["frame/id"], "no field")],
)
def test_fields_that_are_not_there(run: Path, fields: list[str], message: str) -> None:
    for kind in (LabelDataset, ShardStream):
        with pytest.raises(UserError, match=message):
            kind(run, fields)
        with pytest.raises(UserError, match="no frame 'x'"):
            kind(run, frames=["x"])


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (3, 2)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_and_workers_share_the_frames(run: Path, ranks: int, workers: int, shuffle: bool) -> None:
    given: Counter[str] = Counter()
    for rank in range(ranks):
        stream = ShardStream(run, FIELDS, shuffle=shuffle, rank=rank, world_size=ranks)
        given.update(
            sample["frame_id"] for sample in DataLoader(stream, batch_size=None, num_workers=workers)
        )
    assert given == Counter(record.frame_id for record in records())


def test_values_survive_forked_and_spawned_workers(run: Path) -> None:
    by_id = {record.frame_id: record for record in records()}
    opened = StoredRun(run)
    opened.frame("frame-0").record()  # things were open before
    for context in ("fork", "forkserver"):
        loader = DataLoader(
            ShardStream(opened, FIELDS),
            batch_size=None,
            num_workers=2,
            multiprocessing_context=context,
        )
        for sample in loader:
            assert np.array_equal(sample["points/label"], by_id[sample["frame_id"]].labels.label)
            assert np.array_equal(sample["regions/feature"], by_id[sample["frame_id"]].semantics.feature)


def ids(stream: ShardStream, workers: int = 0) -> list[str]:
    return [sample["frame_id"] for sample in DataLoader(stream, batch_size=None, num_workers=workers)]


def test_epochs_have_their_own_order(run: Path) -> None:
    stream = ShardStream(run, ["points/label"], seed=1)
    first = ids(stream)
    assert ids(stream) == first
    stream.set_epoch(1)
    second = ids(stream)
    assert second != first
    assert sorted(second) == sorted(first)
    assert ids(ShardStream(run, ["points/label"], seed=2)) != first
    assert ids(ShardStream(run, ["points/label"], shuffle=False)) == [
        frame_id for shard in StoredRun(run).shards() for frame_id in shard
    ]


def test_workers_that_live_on_see_the_next_epoch(run: Path) -> None:
    stream = ShardStream(run, ["points/label"])
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in range(3):
        stream.set_epoch(epoch)
        orders.append(tuple(sample["frame_id"] for sample in loader))
    assert len(set(orders)) == 3


def test_state_goes_on_where_it_was_taken(run: Path) -> None:
    stream = ShardStream(run, ["points/label"], seed=3)
    stream.set_epoch(2)
    whole = ids(stream)
    for cut in (0, 1, 7, len(whole)):
        fresh = ShardStream(run, ["points/label"], seed=3)
        fresh.set_epoch(2)
        iterator = iter(fresh)
        begun = [next(iterator)["frame_id"] for _ in range(cut)]
        state = pickle.loads(pickle.dumps(fresh.state_dict()))
        again = ShardStream(run, ["points/label"], seed=3)
        again.load_state_dict(state)
        assert begun + ids(again) == whole
        assert ids(again) == whole  # the one after is whole
    with pytest.raises(UserError, match="seed 3"):
        ShardStream(run).load_state_dict(state)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_loader_with_workers_is_resumed(run: Path, batch_size: int) -> None:
    def loader() -> tuple[ShardStream, Any]:
        stream = ShardStream(run, ["points/label"], seed=5)
        return stream, DataLoader(stream, batch_size=batch_size, num_workers=3, collate_fn=collate)

    stream, whole = loader()
    stream.set_epoch(1)
    expected = [tuple(batch["frame_id"]) for batch in whole]
    for cut in (3, 7):
        stream, rest = loader()
        stream.resume(1, cut, batch_size)
        got = [tuple(batch["frame_id"]) for batch in rest]
        assert sorted(got) == sorted(expected[cut:])


def test_even_ranks_make_equally_many_steps(run: Path) -> None:
    counts = []
    for rank in range(2):
        stream = ShardStream(run, ["points/label"], rank=rank, world_size=2, even=True)
        counts.append(len(ids(stream)))
        assert len(stream) == counts[-1]
    assert len(set(counts)) == 1
    assert sum(counts) >= sum(SIZES) - max(SIZES)


def test_a_batch_keeps_the_rows_apart(run: Path) -> None:
    loader = DataLoader(LabelDataset(run, FIELDS), batch_size=4, collate_fn=collate)
    batch = next(iter(loader))
    by_id = {record.frame_id: record for record in records()}
    assert batch["views/point"].dtype == torch.int64
    for number, frame_id in enumerate(batch["frame_id"]):
        for name, want in (
            ("points", by_id[frame_id].labels.label),
            ("regions", by_id[frame_id].semantics.feature),
        ):
            begin, end = batch[f"{name}/offsets"][number : number + 2].tolist()
            field = {"points": "points/label", "regions": "regions/feature"}[name]
            assert np.array_equal(batch[field][begin:end].numpy(), want)


def test_a_derived_run_is_read_over_its_parent(run: Path, tmp_path: Path) -> None:
    derived = tmp_path / "derived"
    create_run(
        derived,
        fingerprint="f" * 32,
        config={},
        taxonomy={},
        models=[],
        parent=Parent(path=str(run), fingerprint=FINGERPRINT),
    )
    write_shard(derived, records()[:6], [], fingerprint="f" * 32, only=["points"])
    got = {sample["frame_id"]: sample for sample in ShardStream(derived, FIELDS)}
    assert len(got) == 6
    assert np.array_equal(got["frame-5"]["regions/feature"], records()[5].semantics.feature)


def test_damage_reaches_the_trainer_as_an_error(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for file in copy.glob("shards/*/points/label/c/0/0"):
        content = bytearray(file.read_bytes())
        content[3] ^= 255
        file.write_bytes(bytes(content))
    with pytest.raises(UserError, match="points/label"):
        list(ShardStream(copy, FIELDS))
    with pytest.raises(UserError, match="points/label"):
        list(DataLoader(ShardStream(copy, FIELDS), batch_size=None, num_workers=1))
