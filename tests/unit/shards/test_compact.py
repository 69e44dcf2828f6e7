"""A compacted run holds the same values in canonical shards, whatever the way there."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.shards import Parent, StoredRun, compact, create_run, read_index, verify, write_shard
from labelgen.shards.manifest import data_file
from tests.helpers.records import assert_stored
from tests.helpers.runs import FINGERPRINT, make_failure, make_run, some_records, write


def data_of(run: Path) -> dict[str, dict[str, bytes]]:
    """{shard id: {file: bytes}} of everything but names of attempts."""
    out = {}
    for manifest in StoredRun(run).manifests:
        names = [data_file(name, len(entry.shape)) for name, entry in manifest.arrays.items() if entry.size]
        out[manifest.shard_id] = {name: (run / str(manifest.path) / name).read_bytes() for name in names}
    return out


def test_the_way_does_not_show(tmp_path: Path) -> None:
    records = some_records(count=5, captions=True, cloud=True, image_size=(3000, 2000))
    for number, groups in enumerate([[0, 2, 5], [0, 1, 3, 4, 5]]):
        run = make_run(tmp_path / f"run-{number}")
        for begin, end in pairwise(groups):
            failures = [make_failure("bad")] if begin == 0 else []
            write_shard(
                run, records[begin:end], failures, fingerprint=FINGERPRINT, attributes={"class_names": ["a"]}
            )
        assert compact(run, tmp_path / f"out-{number}") == 1
    out = tmp_path / "out-0"
    assert data_of(out) == data_of(tmp_path / "out-1")
    opened = StoredRun(out)
    assert opened.frames == tuple(record.frame_id for record in records)
    assert set(opened.failures) == {"bad"}
    for record in records:
        assert_stored(opened.frame(record.frame_id).record(), record, 1 / 16)
        before = StoredRun(tmp_path / "run-0").frame(record.frame_id)
        for name in ("views/uv", "views/depth", "regions/feature"):
            assert np.array_equal(before.array(name), opened.frame(record.frame_id).array(name))
    assert opened.frame("frame-0").attributes["class_names"] == ["a"]
    assert verify(out, deep=True) == []
    assert read_index(out).num_rows == 6


def test_more_than_a_shard_and_what_does_not_go_together(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    small = {"points": 5, "regions": 2}
    for record in some_records(count=70, **small):
        write(run, [record])
    other = [
        replace(r, frame_id=f"w-{r.frame_id}", timestamp_us=1000)
        for r in some_records(1, 2, width=3, **small)
    ]
    write(run, other)
    assert compact(run, tmp_path / "out") == 3
    opened = StoredRun(tmp_path / "out")
    assert [len(m.frames) for m in sorted(opened.manifests, key=lambda m: -len(m.frames))] == [64, 6, 2]
    assert len(opened.frames) == 72


def test_a_derived_run_becomes_one_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    records = some_records(count=2)
    write(run, records)
    fingerprint = "f" * 32
    derived = tmp_path / "derived"
    create_run(
        derived,
        fingerprint=fingerprint,
        config={},
        taxonomy={},
        models=[],
        parent=Parent(path="../run", fingerprint=FINGERPRINT),
    )
    changed = [
        replace(
            record,
            labels=replace(record.labels, label=record.labels.label[::-1].copy()),
        )
        for record in records
    ]
    write_shard(derived, changed, [], fingerprint=fingerprint, only=["points"])
    compact(derived, tmp_path / "out")
    opened = StoredRun(tmp_path / "out")
    assert opened.parent is None
    assert opened.info.fingerprint == fingerprint
    for record in changed:
        assert_stored(opened.frame(record.frame_id).record(), record)
    assert verify(tmp_path / "out", deep=True) == []


def test_again_after_a_kill_and_refusals(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run, some_records(count=2))
    with pytest.raises(UserError, match="the run itself"):
        compact(run, run)
    compact(run, tmp_path / "out")
    before = data_of(tmp_path / "out")
    compact(run, tmp_path / "out")
    assert data_of(tmp_path / "out") == before
    assert verify(tmp_path / "out") == []
    other = tmp_path / "other"
    create_run(other, fingerprint="a" * 32, config={"b": 1}, taxonomy={}, models=[])
    with pytest.raises(UserError, match="other settings"):
        compact(run, other)
