"""Writing one shard: what is refused, who wins, what is left behind."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import Failure
from labelgen.io import atomic
from labelgen.io.local import LocalStore
from labelgen.shards import StoredRun, commit, done_frames, verify, write_shard
from labelgen.shards.manifest import list_manifests, manifest_key
from labelgen.shards.writer import shard_id_of
from tests.helpers.records import assert_stored, make_record
from tests.helpers.runs import FINGERPRINT, make_failure, make_run, some_records, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def shards(run: Path) -> list[str]:
    return sorted(os.listdir(run / "shards"))


def test_the_name_depends_on_the_group_and_the_settings_alone() -> None:
    group = [("a", "1"), ("b", "2")]
    name = shard_id_of(group, "f")
    assert name == shard_id_of(group[::-1], "f")
    others = [
        shard_id_of(group, "g"),
        shard_id_of(group[:1], "f"),
        shard_id_of([("a", "1"), ("b", "3")], "f"),
    ]
    assert len({name, shard_id_of(group, "f", retry=1), *others}) == 5


def test_an_empty_group_publishes_nothing(run: Path) -> None:
    assert write_shard(run, [], [], fingerprint=FINGERPRINT) is None
    assert not list_manifests(LocalStore(run))


def test_too_many_and_twice_are_refused(run: Path) -> None:
    failures = [make_failure(f"x{n}") for n in range(64)]
    with pytest.raises(ValueError, match="the maximum is 64"):
        write_shard(run, some_records(count=1), failures, fingerprint=FINGERPRINT)
    with pytest.raises(ValueError, match="twice"):
        write_shard(run, some_records(count=1), [make_failure("frame-0")], fingerprint=FINGERPRINT)
    assert not shards(run)
    write(run, some_records(count=1, points=5, regions=1), failures[:63])


def test_rows_are_in_the_order_of_scene_and_time(run: Path) -> None:
    records = some_records(count=3, points=5)
    records = [replace(records[0], scene_id="z"), replace(records[1], timestamp_us=9), records[2]]
    manifest = write(run, records)
    assert [frame.frame_id for frame in manifest.frames] == ["frame-2", "frame-1", "frame-0"]
    assert StoredRun(run).frames == ("frame-2", "frame-1", "frame-0")


def test_the_second_write_of_a_group_changes_nothing(run: Path) -> None:
    first = write(run, some_records(seed=0))
    before = shards(run)
    assert write(run, some_records(seed=1)) == first
    assert shards(run) == before


def test_all_failed_publishes_a_manifest_without_a_shard(run: Path) -> None:
    manifest = write(run, [], [make_failure("a"), make_failure("b")])
    assert manifest.path is None
    assert not shards(run)
    opened = StoredRun(run)
    assert opened.frames == ()
    assert set(opened.failures) == {"a", "b"}
    with pytest.raises(UserError, match=r"frame a failed in load: FrameError: cannot be read"):
        opened.frame("a")
    assert verify(run, deep=True) == []


def test_a_retry_that_succeeds_counts(run: Path) -> None:
    record = some_records(count=1)[0]
    write(run, [], [make_failure("frame-0")])
    assert write(run, [], [make_failure("frame-0", message="again")]).failed[0].message == "cannot be read"
    assert done_frames(run).failed
    manifest = write(run, [record])
    assert write(run, [record]) == manifest
    progress = done_frames(run)
    assert progress.done == {("frame-0", "source-0")}
    assert not progress.failed
    assert StoredRun(run).frames == ("frame-0",)
    assert not StoredRun(run).failures
    assert verify(run, deep=True) == []


def test_a_record_that_cannot_be_stored_fails_alone(run: Path) -> None:
    good, bad = some_records(count=2)
    uv = bad.views.uv.copy()
    uv[0] = np.nan
    manifest = write(run, [good, replace(bad, views=replace(bad.views, uv=uv))])
    assert [frame.frame_id for frame in manifest.frames] == ["frame-0"]
    assert manifest.failed[0].frame_id == "frame-1"
    assert manifest.failed[0].stage == "shards"


def test_messages_are_bounded_and_of_any_text(run: Path) -> None:
    wild = "x\udcff\n" + "ü" * 10_000
    failure = Failure("a", "source-0", "load", "OSError", wild, wild + "the end")
    record = replace(some_records(count=1)[0], notes=("bad \udcfe",), source_hashes={"pfad/\udcfc": "00"})
    manifest = write(run, [record], [failure])
    assert len(manifest.failed[0].message) <= 1_000
    assert manifest.failed[0].traceback.endswith("the end")
    assert len(manifest.failed[0].traceback) < 10_000
    assert StoredRun(run).frame("frame-0").record().notes == (r"bad \udcfe",)


def test_attributes_come_back_exactly(run: Path) -> None:
    rng = np.random.default_rng(0)
    half, single = rng.normal(size=(4, 7)).astype(np.float16), rng.normal(size=(4, 7)).astype(np.float32)
    given = {"class_names": ["car", "Fußgänger"], "half": half, "single": single, "ids": np.arange(3)}
    write_shard(run, some_records(count=1), [], fingerprint=FINGERPRINT, attributes=given)
    attributes = StoredRun(run).frame("frame-0").attributes
    assert attributes["class_names"] == ["car", "Fußgänger"]
    assert attributes["ids"] == [0, 1, 2]
    assert np.array_equal(np.array(attributes["half"], np.float16), half)
    assert np.array_equal(np.array(attributes["single"], np.float32), single)
    assert attributes["fingerprint"] == FINGERPRINT
    with pytest.raises(ValueError, match="fingerprint"):
        write_shard(
            run,
            [make_record(rng, frame_id="a")],
            [],
            fingerprint=FINGERPRINT,
            attributes={"fingerprint": "mine"},
        )


@pytest.mark.parametrize("call", ["mkdir", "fsync", "link"])
def test_a_full_disk_leaves_nothing_and_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(os, call)
    calls = 0

    def full(*arguments: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 3 or call == "link":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(UserError, match=r"No space left on device.*again"):
            write(run, some_records())
    assert not shards(run)
    assert not os.listdir(run / "manifests")
    write(run, some_records())
    assert verify(run, deep=True) == []


def test_a_write_that_is_not_read_back_is_not_published(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelgen.shards import writer

    real = writer.write_group

    def lossy(path: Path, *arguments: object) -> None:
        real(path, *arguments)  # type: ignore[arg-type]
        file = path / "points/label/c/0/0"
        file.write_bytes(file.read_bytes()[:20] + b"\0" + file.read_bytes()[21:])

    monkeypatch.setattr(writer, "write_group", lossy)
    with pytest.raises(UserError, match="points/label"):
        write(run, some_records())
    assert not shards(run)
    assert not list_manifests(LocalStore(run))


def test_a_lost_reply_is_not_a_lost_race(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link was made, but the caller was told that it was there already."""
    real = atomic.create
    monkeypatch.setattr(atomic, "create", lambda path, data: real(path, data) and False)
    manifest = write(run, some_records())
    assert StoredRun(run).frames == ("frame-0", "frame-1", "frame-2")
    assert shards(run) == [f"{manifest.shard_id}-{manifest.attempt}.zarr"]


def test_an_error_after_publishing_keeps_the_data(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = atomic.flush

    def fails(path: Path) -> None:
        if path.name == "manifests":
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "flush", fails)
        with pytest.raises(UserError, match="Input/output error"):
            write(run, some_records())
    assert verify(run, deep=True) == []
    assert len(StoredRun(run)) == 3


@pytest.mark.parametrize("damage", ["manifest", "shard", "file"])
def test_what_is_damaged_is_written_again(run: Path, damage: str) -> None:
    first = write(run, some_records())
    path = run / manifest_key(first.shard_id)
    assert first.path is not None
    if damage == "manifest":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "shard":
        (run / first.path).rename(run / "elsewhere")
    else:
        (run / first.path / "views/uv/c/0/0").write_bytes(b"")
    second = write(run, some_records())
    assert second.attempt != first.attempt
    assert len(list((run / "manifests").glob("*.damaged-*"))) == 1
    assert all(problem.harmless for problem in verify(run, deep=True))
    assert_stored(StoredRun(run).frame("frame-1").record(), some_records()[1])


def test_setting_aside_gives_back_what_is_sound(run: Path) -> None:
    """Another process may have replaced the damaged manifest between our look at it and the move."""
    manifest = write(run, some_records())
    path = run / manifest_key(manifest.shard_id)
    assert commit.set_aside(LocalStore(run), f"manifests/{path.name}", FINGERPRINT) is None
    assert os.listdir(run / "manifests") == [path.name]
    path.write_text(json.dumps({"half": 1}))
    assert commit.set_aside(LocalStore(run), f"manifests/{path.name}", FINGERPRINT) is not None
    assert not path.exists()
    assert commit.set_aside(LocalStore(run), f"manifests/{path.name}", FINGERPRINT) is None
