"""Reading: lazily, from any process, over a parent, and never what is not sound."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import FrameRecord, PointLabels
from labelgen.shards import DamageError, Parent, StoredRun, create_run, verify, write_shard
from labelgen.shards.encode import write_group
from labelgen.shards.shard import Shard, digest
from tests.helpers.records import assert_stored, make_record
from tests.helpers.runs import FINGERPRINT, edit, make_failure, make_run, some_records, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_run(tmp_path / "run")
    write(path, some_records(count=3), [make_failure("frame-x")])
    return path


def test_frames_by_id(run: Path) -> None:
    opened = StoredRun(str(run))
    assert len(opened) == 3
    assert "frame-1" in opened
    assert "frame-x" not in opened
    for record in some_records(count=3):
        frame = opened.frame(record.frame_id)
        assert_stored(frame.record(), record)
        assert frame.num_points == len(record.labels)
        assert frame.num_regions == len(record.regions)
        assert frame.labels is frame.labels
    with pytest.raises(UserError, match="no frame 'absent'"):
        opened.frame("absent")
    with pytest.raises(UserError, match="frame-x failed in load"):
        opened.frame("frame-x")


def test_hits_are_optional_and_masks_need_not_be_read(tmp_path: Path) -> None:
    for name, reach in (("none", None), ("plain", 0), ("far", 8)):
        run = make_run(tmp_path / name)
        records = some_records(count=2, reach=reach)
        write(run, records)
        for record in records:
            frame = StoredRun(run).frame(record.frame_id)
            assert frame.hit_reach == reach
            assert_stored(frame.record(), record)
        shutil.rmtree(next((run / "shards").iterdir()) / "regions" / "rle_bytes")
        quick = StoredRun(run).frame("frame-0").record(masks=False)
        assert quick.regions.rle == (b"",) * 12
        assert np.array_equal(quick.regions.area, records[0].regions.area)


def test_hits_beyond_what_a_byte_holds_are_stored_without_their_surroundings(tmp_path: Path) -> None:
    (record,) = some_records(count=1, reach=80)
    assert record.hits is not None
    run = make_run(tmp_path / "run")
    write(run, [replace(record, hits=replace(record.hits, reach=86))])
    hits = StoredRun(run).frame("frame-0").hits
    assert hits is not None
    assert (hits.reach, hits.inside) == (0, None)
    assert np.array_equal(hits.region, record.hits.region)


def test_a_reach_that_no_writer_gives_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run, some_records(count=1, reach=8))
    file = next((run / "shards").iterdir()) / "zarr.json"
    for reach in (0, 86, "8", None):
        (path,) = (run / "manifests").glob("*.json")
        edit(file, lambda root, reach=reach: root["attributes"].update(hit_reach=reach))
        raw = file.read_bytes()
        entry = {"size": len(raw), "blake2b": hashlib.blake2b(raw, digest_size=16).hexdigest()}
        edit(path, lambda content, entry=entry: content["metadata"].update({"zarr.json": entry}))
        with pytest.raises(DamageError, match="hit_reach is"):
            _ = StoredRun(run).frame("frame-0").hits


def test_single_arrays_of_a_frame(run: Path) -> None:
    (record, *_) = some_records(count=3)
    frame = StoredRun(run).frame("frame-0")
    assert np.array_equal(frame.array("points/confidence"), record.labels.confidence)
    assert np.array_equal(frame.array("views/visible"), record.views.visible)
    assert np.array_equal(frame.array("regions/feature"), record.semantics.feature)
    for name in ("frame/id", "regions/rle_bytes", "regions/rle_offsets", "points/absent"):
        with pytest.raises(ValueError, match=name):
            frame.array(name)
    with pytest.raises(UserError, match=r"points/xyz.*not stored"):
        frame.array("points/xyz")


def test_opening_reads_no_shard(run: Path) -> None:
    for path in (run / "shards").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    frame = StoredRun(run).frame("frame-0")
    assert frame.num_points == 200
    with pytest.raises(UserError, match=r"zarr\.json"):
        _ = frame.labels


def test_only_the_field_that_is_asked_for_is_read(run: Path) -> None:
    shutil.rmtree(next((run / "shards").iterdir()) / "regions" / "feature")
    frame = StoredRun(run).frame("frame-0")
    assert len(frame.labels) == 200
    assert len(frame.regions) == 12
    with pytest.raises(UserError, match="regions/feature"):
        _ = frame.semantics


def test_streaming_gives_every_frame_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    records = some_records(count=7, points=50)
    for group in (records[:3], records[3:], [records[1], records[5]]):
        write(run, group)
    streamed = {frame.frame_id: frame.record() for frame in StoredRun(run).stream()}
    assert sorted(streamed) == [record.frame_id for record in records]
    for record in records:
        assert_stored(streamed[record.frame_id], record)


def test_more_shards_than_are_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    records = some_records(count=5, points=5, regions=2)
    for record in records:
        write(run, [record])
    opened = StoredRun(run)
    import labelgen.shards.reader as module

    kept, module._KEPT_SHARDS = module._KEPT_SHARDS, 2
    try:
        for record in [*records, *records[::-1]]:
            assert_stored(opened.frame(record.frame_id).record(), record)
        assert len(opened._shards) == 2
    finally:
        module._KEPT_SHARDS = kept


def _labelled(run: StoredRun) -> int:
    return sum(int((frame.labels.label != 255).sum()) for frame in run.stream())


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_an_open_run_may_be_used_in_other_processes(run: Path, method: str) -> None:
    opened = StoredRun(run)
    want = _labelled(opened)
    context: Any = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        assert pool.apply(_labelled, (opened,)) == want
    assert _labelled(pickle.loads(pickle.dumps(opened))) == want


# --- hostile shards: arrays that agree with their checksums, but not with each other -----------------------


def forge(run: Path, **changes: np.ndarray) -> None:
    """Write other values into the run's only shard, with a manifest that agrees."""
    (path,) = (run / "manifests").glob("*.json")
    data = json.loads(path.read_text())
    folder = run / data["path"]
    shard = Shard(run, StoredRun(run).manifests[0])
    attributes = dict(shard.attributes)
    content = {name: shard.array(name) for name in data["arrays"]}
    for name, values in changes.items():
        content[name.replace("__", "/")] = values
    shutil.rmtree(folder)
    write_group(folder, content, attributes)
    from labelgen.shards.writer import _describe

    arrays, metadata = _describe(folder, content)
    parts = {"arrays": arrays, "metadata": metadata}
    plain = {
        part: {name: entry.model_dump(mode="json") for name, entry in entries.items()}
        for part, entries in parts.items()
    }
    edit(path, lambda content: content.update(plain))


def read_all(run: Path) -> list[FrameRecord]:
    return [frame.record() for frame in StoredRun(run).stream()]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("views__point", lambda a: a + 200),
        ("views__point", lambda a: a + np.uint32(2**31)),
        ("views__region", lambda a: a * 0 + 12),
        ("points__region", lambda a: a * 0 + 12),
        ("regions__camera", lambda a: a[::-1].copy()),
        ("regions__parent", lambda a: a * 0 + 12),
        ("regions__parent", lambda a: a * 0 - 2),
        ("frame__view_offsets", lambda a: a[::-1].copy()),
        ("frame__view_offsets", lambda a: a + 1),
        ("frame__region_offsets", lambda a: a * 0),
        ("frame__region_offsets", lambda a: np.array([0, -5, 24, a[-1]])),
        ("regions__rle_offsets", lambda a: a[::-1].copy()),
        ("regions__rle_offsets", lambda a: a + 10**6),
        ("regions__caption_offsets", lambda a: a * 0 - 1),
        ("regions__caption_bytes", lambda a: a * 0 + 0xFF),
        ("frame__hit_offsets", lambda a: a + 1),
        ("views__hits", lambda a: a + 1),
        ("hits__region", lambda a: a * 0 + 12),
        ("hits__inside", lambda a: a * 0 + 25),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(tmp_path: Path, name: str, values: Any) -> None:
    run = make_run(tmp_path / "run")
    write(run, some_records(count=3, captions=True, parents=True, reach=8))
    forge(run)
    assert len(read_all(run)) == 3
    array = Shard(run, StoredRun(run).manifests[0]).array(name.replace("__", "/"))
    forge(run, **{name: values(array).astype(array.dtype)})
    with pytest.raises(DamageError, match=r"shards/.*: (frame frame|does not)"):
        read_all(run)


def test_other_frames_than_the_manifest_s_are_noticed(run: Path) -> None:
    shard = Shard(run, StoredRun(run).manifests[0])
    forge(run, frame__id=shard.array("frame/id")[::-1].copy())
    assert [problem.kind for problem in verify(run)] == ["torn-shard"]


def test_a_shard_that_is_a_link_out_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    folder = next((run / "shards").iterdir())
    shutil.move(folder, tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leaves the run's folder"):
        read_all(run)
    assert [problem.kind for problem in verify(run)] == ["torn-shard"]


def test_shapes_beyond_the_file_are_refused_without_reading(run: Path) -> None:
    (path,) = (run / "manifests").glob("*.json")

    def enlarge(content: dict[str, Any]) -> None:
        for name, entry in content["arrays"].items():
            if name.startswith("points/"):
                entry["shape"][1] = 10**12

    edit(path, enlarge)
    with pytest.raises(UserError, match="points/label"):
        read_all(run)


def test_a_missing_array_is_named(run: Path) -> None:
    (path,) = (run / "manifests").glob("*.json")
    edit(path, lambda content: content["arrays"].pop("points/margin"))
    with pytest.raises(UserError, match=r"points/margin.*not stored"):
        read_all(run)
    assert any("points/margin" in problem.detail for problem in verify(run))


# --- derived runs -----------------------------------------------------------------------------------------


def relabelled(record: FrameRecord) -> FrameRecord:
    labels = record.labels
    changed = {name: getattr(labels, name) for name in PointLabels._SPEC} | {"label": (labels.label + 1) % 5}
    return replace(
        record, labels=PointLabels(**{k: v.astype(getattr(labels, k).dtype) for k, v in changed.items()})
    )


def derive(path: Path, parent: str, fingerprint: str = FINGERPRINT) -> Path:
    create_run(
        path,
        fingerprint="derived",
        config={},
        taxonomy={},
        models=[],
        parent=Parent(path=parent, fingerprint=fingerprint),
    )
    return path


def test_a_derived_run_lies_over_its_parent(run: Path) -> None:
    derived = derive(run.parent / "derived", "../run")
    records = [relabelled(record) for record in some_records(count=2)]
    manifest = write_shard(derived, records, [], fingerprint="derived", only=["points"])
    assert manifest is not None
    assert {name.partition("/")[0] for name in manifest.arrays} == {"frame", "points"}
    opened = StoredRun(derived)
    assert opened.frames == ("frame-0", "frame-1")
    for record in records:
        assert_stored(opened.frame(record.frame_id).record(), record)
    assert verify(derived, deep=True) == []


def test_a_derived_run_may_change_some_of_the_regions(run: Path) -> None:
    derived = derive(run.parent / "derived", str(run))
    (record,) = some_records(count=1)
    semantics = replace(record.semantics, label=(record.semantics.label + 1).astype(np.uint8))
    record = replace(record, semantics=semantics)
    write_shard(derived, [record], [], fingerprint="derived", only=["points", "regions/label"])
    assert_stored(StoredRun(derived).frame("frame-0").record(), record)


def test_a_derived_run_needs_its_own_parent(run: Path) -> None:
    gone = derive(run.parent / "gone", "../absent")
    with pytest.raises(UserError, match="parent run is gone"):
        StoredRun(gone)
    other = derive(run.parent / "other", "../run", fingerprint="another")
    with pytest.raises(UserError, match=r"parent\.fingerprint"):
        StoredRun(other)
    itself = derive(run.parent / "itself", ".", fingerprint="derived")
    with pytest.raises(UserError, match="own parent"):
        StoredRun(itself)
    fewer = derive(run.parent / "fewer", "../run")
    record = make_record(np.random.default_rng(0), frame_id="frame-0", points=7)
    stray = make_record(np.random.default_rng(0), frame_id="stray")
    write_shard(fewer, [record, stray], [], fingerprint="derived", only=["points"])
    for frame_id, said in (("frame-0", "200 points"), ("stray", "no frame stray")):
        with pytest.raises(UserError, match=said):
            StoredRun(fewer).frame(frame_id)


def test_only_what_is_there_can_be_chosen(run: Path) -> None:
    with pytest.raises(ValueError, match="points/xyz"):
        write_shard(run, some_records(count=1), [], fingerprint=FINGERPRINT, only=["points", "points/xyz"])


def test_digest_is_of_values_not_of_memory_layout() -> None:
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert digest([values]) == digest([np.asfortranarray(values)]) == digest([values.astype(">i4")])
    assert digest([values]) == digest([values[:1], values[1:]])
    assert digest([values]) != digest([values + 1])
