"""Runs in an object store: the same rules as on a disk, whatever becomes of single requests."""

from __future__ import annotations

import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.io import clients
from labelgen.io.place import named_after, open_store
from labelgen.io.remote import RemoteStore
from labelgen.shards import (
    DamageError,
    StoredRun,
    build_index,
    done_frames,
    read_index,
    resume,
    suspects,
    verify,
)
from tests.helpers.records import assert_stored
from tests.helpers.runs import flip, make_failure, make_run, some_records, write
from tests.helpers.s3 import S3Server

SMALL: dict[str, Any] = {"points": 40, "regions": 4}


@pytest.fixture
def server(object_store: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return object_store


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.bucket()


STORES = ["s3", "gs"]


def check(url: str, records: list[Any]) -> None:
    opened = StoredRun(url)
    assert sorted(opened.frames) == sorted(record.frame_id for record in records)
    for record in records:
        assert_stored(opened.frame(record.frame_id).record(), record)


@pytest.mark.parametrize("scheme", STORES)
def test_write_read_verify_index_resume(
    server: S3Server, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = some_records(count=4, captions=True, **SMALL)
    url = f"{server.bucket(scheme)}/runs/one"
    with pytest.raises(UserError, match=r"runs/one is not a run"):
        StoredRun(url)
    make_run(Path(url))  # a Path makes one slash of two; it is understood
    write(url, records[:2], [make_failure("frame-x")])
    write(url, records[2:])
    check(url, records)
    assert set(StoredRun(url).failures) == {"frame-x"}
    assert verify(url) == verify(url, deep=True) == []
    assert len(done_frames(url).done) == 4
    build_index(url)
    assert read_index(url).num_rows == 5
    assert verify(url) == []
    before = write(url, records[2:])
    assert before == write(url, records[2:])
    assert len(open_store(url).children("shards")) == 2


def test_what_is_kept_here_of_a_remote_run_is_for_its_user_alone(bucket: str) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    store = open_store(url)
    with store.staging() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    write(url, some_records(count=1, **SMALL))
    check(url, some_records(count=1, **SMALL))
    assert store.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("scheme", STORES)
def test_objects_are_read_in_parts(
    server: S3Server, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of any size, so that the time of a request does not depend on that of the object."""
    monkeypatch.setattr(clients, "_CHUNK", 100)
    asked = clients.Client(f"{server.bucket(scheme)}/run")
    for size in (0, 1, 99, 100, 101, 1050):
        content = os.urandom(size)
        asked.put(f"f/{size}", content)
        assert asked.get(f"f/{size}", None) == content
        assert asked.get(f"f/{size}", 250) == content[:250]
        asked.download(f"f/{size}", tmp_path / str(size))
        assert (tmp_path / str(size)).read_bytes() == content


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_of_two_writers_one_wins(server: S3Server, scheme: str) -> None:
    url = str(make_run(Path(f"{server.bucket(scheme)}/run"))).replace(":/", "://")
    barrier, attempts = threading.Barrier(3), []

    def race() -> None:
        group = some_records(count=2, **SMALL)
        barrier.wait()
        attempts.append(write(url, group).attempt)

    threads = [threading.Thread(target=race) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(attempts) == 3
    assert len(set(attempts)) == 1
    assert len(open_store(url).children("shards")) == 1
    assert verify(url, deep=True) == []


@pytest.mark.parametrize("scheme", STORES)
@pytest.mark.parametrize("fault", ["lost", "lost 500"])
def test_a_lost_reply_to_the_commit_is_no_lost_race(
    server: S3Server, fault: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.bucket(scheme)}/run"
    make_run(Path(url))
    server.fault = lambda method, path: (
        fault if method == "PUT" and "/manifests/" in path and not server.given else None
    )
    manifest = write(url, some_records(count=2, **SMALL))
    assert server.given == {fault: 1}
    assert open_store(url).children("shards") == [f"{manifest.shard_id}-{manifest.attempt}.zarr"]
    check(url, some_records(count=2, **SMALL))


@pytest.mark.parametrize(("fault", "scheme"), [("503", "s3"), ("lost", "s3"), ("500", "gs"), ("lost", "gs")])
def test_single_requests_that_fail_are_tried_again(server: S3Server, fault: str, scheme: str) -> None:
    rng = np.random.default_rng(0)
    lock = threading.Lock()

    def sometimes(method: str, path: str) -> str | None:
        with lock:
            return fault if rng.random() < 0.1 else None

    url = f"{server.bucket(scheme)}/run"
    records = some_records(count=4, **SMALL)
    server.fault = sometimes
    make_run(Path(url))
    write(url, records[:2])
    write(url, records[2:])
    check(url, records)
    assert all(problem.harmless for problem in verify(url, deep=True))
    assert server.given[fault] > 10


def test_a_store_that_stays_away_at_the_commit(bucket: str, server: S3Server) -> None:
    """Nobody knows whether the manifest was written, so the data stay; both outcomes are whole."""
    for fault in ("503", "lost 500"):
        url = f"{bucket}/run-{fault[:4].strip()}"
        make_run(Path(url))
        server.fault = lambda method, path, fault=fault: (  # type: ignore[misc]
            fault if method == "PUT" and "/manifests/" in path else None
        )
        if fault == "503":
            with pytest.raises(UserError, match=r"cannot write to s3://.*again"):
                write(url, some_records(count=2, **SMALL))
        else:
            with pytest.raises(UserError, match="cannot write"):
                # The first put is done, its replies are lost; the later ones meet it and lose their replies.
                write(url, some_records(count=2, **SMALL))
        server.fault = None
        done = len(StoredRun(url).frames)
        assert done == (0 if fault == "503" else 2)
        assert len(open_store(url).children("shards")) == 1
        resume(url)
        write(url, some_records(count=2, **SMALL))
        check(url, some_records(count=2, **SMALL))
        verify(url, clean=True, min_age=-1)
        assert verify(url, deep=True) == []


@pytest.mark.parametrize(("fault", "advice"), [("503", "try again"), ("403", "credentials")])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_store_that_cannot_be_read_says_nothing_of_the_files(
    server: S3Server, fault: str, advice: str, scheme: str
) -> None:
    url = f"{server.bucket(scheme)}/run"
    make_run(Path(url))
    manifest = write(url, some_records(count=2, **SMALL))
    opened = StoredRun(url)
    for part in ("/manifests/", "/shards/", ""):
        server.fault = lambda method, path, part=part: fault if method == "GET" and part in path else None  # type: ignore[misc]
        for look in (StoredRun, resume, build_index, lambda run: verify(run, deep=True)):
            if part != "/shards/" or look not in (StoredRun, resume, build_index):
                with pytest.raises(UserError, match=advice):
                    look(url)
    with pytest.raises(UserError, match=advice):
        opened.frame("frame-0").record()
    server.fault = None
    assert open_store(url).children("manifests") == [f"{manifest.shard_id}.json"]
    check(url, some_records(count=2, **SMALL))
    assert verify(url, deep=True) == []


@pytest.mark.parametrize("what", ["manifest", "cut", "gone", "changed"])
def test_damage_is_named_never_read_and_healed(bucket: str, what: str) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    records = some_records(count=2, **SMALL)
    manifest = write(url, records)
    store = open_store(url)
    key = f"{manifest.path}/points/label/c/0/0"
    if what == "manifest":
        store.replace(f"manifests/{manifest.shard_id}.json", b"{")
    elif what == "cut":
        store.replace(key, store.read(key)[:-3])
    elif what == "gone":
        store.remove(key)
    else:
        content = bytearray(store.read(key))
        content[5] ^= 1
        store.replace(key, bytes(content))
    problems = verify(url, deep=True)
    assert not problems[0].harmless
    with pytest.raises(UserError):
        StoredRun(url).frame("frame-0").record()
    if what != "changed":  # sizes agree: only --deep tells
        assert resume(url).damaged
        write(url, records)
        check(url, records)
        verify(url, clean=True, min_age=-1)
        assert verify(url, deep=True) == []


def test_dense_features_lie_beside_the_shards(bucket: str) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    records = some_records(count=2, dense="int8", **SMALL)
    manifest = write(url, records)
    for _ in range(2):  # from the store, then from the copies
        opened = StoredRun(url)
        for record in records:
            dense = opened.frame(record.frame_id).dense
            assert dense is not None
            assert record.dense is not None
            assert np.array_equal(dense.values, record.dense.values)
    assert verify(url, deep=True) == []
    assert manifest.features is not None
    open_store(url).remove(manifest.features.path)
    assert [problem.kind for problem in verify(url)] == ["removed-features"]
    check(url, records)


def test_the_cache_keeps_its_limit(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    records = some_records(count=6, **SMALL)
    for record in records:
        write(url, [record])
    (largest,) = {max(size for _, size in m.files()) for m in StoredRun(url).manifests[:1]}
    limit = 4 * largest
    store = RemoteStore(url, tmp_path / "small", limit)
    opened = StoredRun(store)
    for _ in range(2):
        for record in records:
            assert_stored(opened.frame(record.frame_id).record(), record)
            kept = sum(path.stat().st_size for path in (store.folder / "shards").rglob("*") if path.is_file())
            assert kept <= limit
            opened = pickle.loads(pickle.dumps(opened))  # as a worker gets it
    with pytest.raises(UserError, match="LABELGEN_CACHE_GB"):
        StoredRun(RemoteStore(url, tmp_path / "tiny", 10)).frame("frame-0").record()


def test_a_damaged_copy_is_fetched_again(bucket: str) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    records = some_records(count=1, **SMALL)
    write(url, records)
    check(url, records)
    for path in (open_store(url).folder / "shards").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    check(url, records)


@pytest.mark.parametrize("file", ["points/label/c/0/0", "regions/feature/c/0/0", "zarr.json"])
@pytest.mark.parametrize("harm", ["flip", "folder", "pipe", "link"])
def test_a_bad_copy_is_thrown_away_and_fetched_anew(
    bucket: str, file: str, harm: str, tmp_path: Path
) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    records = some_records(count=2, **SMALL)
    write(url, records)
    check(url, records)
    (copy,) = (open_store(url).folder / "shards").glob(f"*/{file}")
    if harm == "flip":
        flip(copy, 20)
    else:
        copy.unlink()
        (tmp_path / "elsewhere").write_bytes(b"x")
        {
            "folder": lambda: (copy / "inside").mkdir(parents=True),
            "pipe": lambda: os.mkfifo(copy),
            "link": lambda: copy.symlink_to(tmp_path / "elsewhere"),
        }[harm]()
    check(url, records)
    assert copy.is_file()
    assert not copy.is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"x" if harm == "link" else True
    assert suspects.marked(open_store(url)) == frozenset()
    assert verify(url, deep=True) == []


def test_a_bad_object_is_not_hidden_by_a_good_copy(bucket: str) -> None:
    """And heals as on a disk: a reader that has no copy leaves a mark, the next call sets the shard aside."""
    url = f"{bucket}/run"
    make_run(Path(url))
    records = some_records(count=2, **SMALL)
    manifest = write(url, records)
    check(url, records)
    store = open_store(url)
    key = f"{manifest.path}/points/label/c/0/0"
    content = bytearray(store.read(key))
    content[20] ^= 1
    store.replace(key, bytes(content))
    check(url, records)
    assert len(resume(url).done) == 2
    assert [(problem.kind, problem.where) for problem in verify(url, deep=True)] == [
        ("torn-shard", f"{manifest.path}/points/label")
    ]
    assert suspects.marked(store) == {manifest.shard_id}
    assert resume(url).done == frozenset()
    write(url, records)
    check(url, records)
    assert all(problem.harmless for problem in verify(url, deep=True))


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_store(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    write(url, some_records(count=1, **SMALL))
    for place in (tmp_path / "file", Path("/dev/full")):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LABELGEN_CACHE", str(place / "cache"))
        with pytest.raises(UserError, match=r"the cache .* cannot be written: Not a directory") as caught:
            _ = StoredRun(url).frame("frame-0").labels
        assert not isinstance(caught.value, DamageError)
    monkeypatch.setenv("LABELGEN_CACHE", str(tmp_path / "cache"))

    opened, really = StoredRun(url), Path.open

    def full(path: Path, *_: object) -> object:
        return really(Path("/dev/full"), "wb")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"the cache .* cannot be written: No space left"):
        _ = opened.frame("frame-0").labels


def test_a_forked_process_is_told_what_to_do(bucket: str) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    write(url, some_records(count=1, **SMALL))
    opened = StoredRun(url)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            opened.frame("frame-0").record()
            os.write(writing, b"read")
        except UserError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"forkserver" in os.read(reading, 1000)


def test_the_mirror_holds_what_describes_the_run(bucket: str) -> None:
    url = f"{bucket}/run"
    make_run(Path(url))
    write(url, some_records(count=1, **SMALL))
    opened = StoredRun(url)
    assert json.loads((opened.path / "run.json").read_text())["format"] == "labelgen-run"
    assert opened.url == url


def test_how_runs_name_each_other() -> None:
    """Relative where both are moved together, else absolute; and back."""
    for run, other, path in (
        ("s3://bucket/a/fused", "s3://bucket/a/run", "../run"),
        ("s3://bucket/fused", "s3://other/run", "s3://other/run"),
        ("s3://bucket/fused", "gs://bucket/run", "gs://bucket/run"),
        ("s3://bucket/fused", "/disk/run", "/disk/run"),
        ("/disk/a/fused", "/disk/b/run", "../../b/run"),
        ("/disk/fused", "s3://bucket/run", "s3://bucket/run"),
    ):
        store = open_store(run)
        assert store.path_to(open_store(other)) == path
        back = open_store(store.beside(path))
        assert os.path.normpath(back.folder) == os.path.normpath(open_store(other).folder)
    assert named_after("s3://bucket/run/", "-fused") == "s3://bucket/run-fused"
    assert named_after(Path("runs/demo"), "-fused") == "runs/demo-fused"
    assert named_after(".", "-fused") == f"{Path.cwd()}-fused"


@pytest.mark.parametrize("place", ["az://box/run", "https://host/run", "s3://", "hdfs:/run"])
def test_other_addresses_are_refused_and_make_no_folder(place: str, tmp_path: Path) -> None:
    for given in (place, Path(place)):
        with pytest.raises(UserError, match="s3://bucket/folder"):
            open_store(given)


def test_credentials_of_a_profile_are_found(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As boto3 finds them, whose files obstore does not read; what the environment says comes first."""
    bucket = server.bucket()
    given = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    (tmp_path / "credentials").write_text(
        "[drives]\n" + "".join(f"{name.lower()} = {value}\n" for name, value in given.items())
    )
    for name in given:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "drives")
    client = clients.Client(f"{bucket}/run")
    assert client.create("run.json", b"{}")
    assert client.get("run.json", None) == b"{}"
    (tmp_path / "credentials").write_text("")
    with pytest.raises(UserError, match="drives"):
        clients.Client(f"{bucket}/run")
