"""Which manifest counts for a frame, what is done, and the index of it all."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import FrameStatus
from labelgen.io.local import LocalStore
from labelgen.shards import StoredRun, build_index, done_frames, read_index, resume, verify
from labelgen.shards.index import SCHEMA
from labelgen.shards.manifest import FrameEntry, Manifest, manifest_key
from labelgen.shards.resolve import load_manifests, resolve
from tests.helpers.records import assert_stored, make_record
from tests.helpers.runs import FINGERPRINT, edit, make_failure, make_run, some_records, write


def put(run: Path, source: str, status: str, seed: int) -> Manifest:
    """The frame ``a`` with another one, which makes the shard's name another."""
    rng = np.random.default_rng(seed)
    other = make_record(rng, frame_id=f"other-{seed}", source_id=source)
    if status == "failed":
        return write(run, [other], [make_failure("a", source)])
    how = FrameStatus.PARTIAL if status == "partial" else FrameStatus.OK
    return write(run, [make_record(rng, frame_id="a", source_id=source, status=how), other])


def plan(run: Path, sources: dict[str, str | None]) -> None:
    table = pa.table(
        {"frame_id": list(sources), "source_id": list(sources.values()), "more": [1] * len(sources)}
    )
    pq.write_table(table, run / "frames.parquet")


def test_the_best_outcome_counts_whatever_the_order(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    made = {
        (source, status, seed): put(run, source, status, seed)
        for seed, (source, status) in enumerate(
            [
                ("old", "ok"),
                ("new", "failed"),
                ("new", "partial"),
                ("new", "ok"),
                ("new", "ok"),
                ("old", "failed"),
            ]
        )
    }
    manifests, _ = load_manifests(LocalStore(run), FINGERPRINT)

    def chosen(names: list[tuple[str, str, int]], sources: dict[str, str]) -> str:
        ids = {made[name].shard_id for name in names}
        subset = [manifest for manifest in manifests if manifest.shard_id in ids]
        answers = {resolve(order, sources)["a"].manifest.shard_id for order in itertools.permutations(subset)}
        assert len(answers) == 1
        return answers.pop()

    old_ok, failed, partial, ok, ok2, old_failed = made
    new = {"a": "new"}
    assert chosen([old_ok, failed, old_failed], new) == made[failed].shard_id
    assert chosen([old_ok, failed, partial], new) == made[partial].shard_id
    assert chosen([failed, partial, ok, old_ok], new) == made[ok].shard_id
    assert chosen([ok, ok2], new) == min(made[ok].shard_id, made[ok2].shard_id)
    assert chosen([old_ok, failed, old_failed], {}) == made[old_ok].shard_id
    assert chosen([old_ok, ok], {"a": "third"}) == min(made[old_ok].shard_id, made[ok].shard_id)


def test_a_changed_source_is_to_be_done_again_and_then_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    old, new = (
        make_record(np.random.default_rng(n), frame_id="a", source_id=s) for n, s in enumerate(("old", "new"))
    )
    write(run, [old])
    plan(run, {"a": "new"})
    assert ("a", "new") not in done_frames(run).done
    write(run, [new])
    assert ("a", "new") in done_frames(run).done
    assert StoredRun(run).frames == ("a",)
    assert_stored(StoredRun(run).frame("a").record(), new)
    # The two columns that this test plans with are all that readers need, but no whole plan.
    assert {problem.kind for problem in verify(run, deep=True)} == {"damaged-plan"}
    plan(run, {"a": "old"})
    assert_stored(StoredRun(run).frame("a").record(), old)


def test_a_plan_without_sources_is_no_obstacle(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write(run, [make_record(np.random.default_rng(0), frame_id="a", source_id="")])
    plan(run, {"a": None, "b": None})
    assert StoredRun(run).frames == ("a",)


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write(run, some_records(count=1))
    (run / "frames.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match=r"frames\.parquet"):
        StoredRun(run)
    pq.write_table(pa.table({"id": [1]}), run / "frames.parquet")
    with pytest.raises(UserError, match=r"frames\.parquet.*frame_id"):
        StoredRun(run)


def test_progress_counts_what_is_sound_and_names_the_rest(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = some_records(count=6)
    sound = write(run, records[:2], [make_failure("x"), make_failure("frame-5")])
    cut, torn, gone, foreign = (write(run, [record]) for record in records[2:])
    (run / manifest_key(cut.shard_id)).write_text('{"format": "labelgen-manifest", ')
    assert torn.path is not None
    (run / torn.path / "regions/feature/c/0/0").unlink()
    assert gone.path is not None
    (run / gone.path).rename(tmp_path / "elsewhere")
    edit(run / manifest_key(foreign.shard_id), lambda content: content.update(fingerprint="of another run"))

    kinds = {"damaged-manifest", "torn-shard", "missing-shard", "foreign-manifest"}
    for look in (done_frames, done_frames, resume):
        progress = look(run)
        assert progress.done == {("frame-0", "source-0"), ("frame-1", "source-0")}
        assert set(progress.failed) == {("x", "source-0"), ("frame-5", "source-0")}
        assert {problem.kind for problem in progress.damaged} == kinds
    assert not done_frames(run).damaged
    assert StoredRun(run).frames == ("frame-0", "frame-1")
    assert [path.name for path in (run / "manifests").glob("*.json")] == [f"{sound.shard_id}.json"]
    for record in records[2:]:
        write(run, [record])
    assert len(StoredRun(run)) == 6
    assert set(StoredRun(run).failures) == {"x"}
    assert all(problem.harmless for problem in verify(run, deep=True))


def test_a_later_version_stops_resume_and_is_not_moved(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    manifest = write(run, some_records())
    path = run / manifest_key(manifest.shard_id)
    edit(path, lambda content: content.update(format_version=2))
    with pytest.raises(UserError, match="later"):
        resume(run)
    assert path.exists()


def test_index_has_every_frame_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    rng = np.random.default_rng(0)
    records = [
        make_record(
            rng, frame_id="b", scene_id="s2", timestamp_us=5, status=FrameStatus.PARTIAL, notes=("no image",)
        ),
        make_record(rng, frame_id="a", scene_id="s1", timestamp_us=9),
        make_record(rng, frame_id="c", scene_id="s2", timestamp_us=1, points=0),
    ]
    write(run, records[:2], [make_failure("z")])
    write(run, [records[2]], [make_failure("a")])
    build_index(run)
    table = read_index(run)
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[b"fingerprint"] == FINGERPRINT.encode()
    rows = table.to_pylist()
    assert [row["frame_id"] for row in rows] == ["z", "a", "c", "b"]
    by_id = {row["frame_id"]: row for row in rows}
    assert by_id["z"]["status"] == "failed"
    assert by_id["z"]["error_message"] == "cannot be read"
    assert by_id["z"]["row"] is None
    assert by_id["b"]["status"] == "partial"
    assert by_id["b"]["notes"] == ["no image"]
    for record in records:
        row, label = by_id[record.frame_id], record.labels.label
        assert row["num_points"] == len(label)
        assert row["labelled"] == (label != 255).sum()
        assert dict(row["histogram"]) == {
            int(c): int((label == c).sum()) for c in np.unique(label[label != 255])
        }
        assert row["timestamp_us"] == record.timestamp_us
    before = (run / "index.parquet").read_bytes()
    build_index(run)
    assert (run / "index.parquet").read_bytes() == before


def test_index_of_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    build_index(run)
    assert read_index(run).num_rows == 0
    assert verify(run) == []


def test_index_drift_and_damage_are_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write(run, some_records(count=1))
    path = tmp_path / "index.parquet"
    assert build_index(run) == str(path)
    write(run, some_records(count=3)[1:])
    assert [problem.kind for problem in verify(run)] == ["index-drift"]
    build_index(run)
    assert verify(run) == []
    path.write_bytes(path.read_bytes()[:-10])
    assert [problem.kind for problem in verify(run)] == ["index-drift"]
    with pytest.raises(UserError, match="labelgen index"):
        read_index(run)
    path.unlink()
    with pytest.raises(UserError, match="labelgen index"):
        read_index(run)


def test_index_refuses_a_damaged_manifest(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    manifest = write(run, some_records())
    (run / manifest_key(manifest.shard_id)).write_bytes(b"")
    with pytest.raises(UserError, match=manifest.shard_id):
        build_index(run)


def test_entries_know_what_the_index_shows(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (record,) = some_records(count=1)
    write(run, [record])
    entry = StoredRun(run).entry("frame-0")
    assert isinstance(entry, FrameEntry)
    assert sum(entry.histogram.values()) == entry.labelled == (record.labels.label != 255).sum()
