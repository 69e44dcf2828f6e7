"""What verify finds, what it removes, and what its command prints."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labelgen.cli.main import app
from labelgen.core.errors import UserError
from labelgen.core.records import FrameRecord
from labelgen.shards import Manifest, StoredRun, build_index, verify
from labelgen.shards.manifest import manifest_key
from tests.helpers.runs import make_run, some_records, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_run(tmp_path / "run")
    write(path, some_records(count=2))
    build_index(path)
    return path


def only(run: Path) -> Manifest:
    (manifest,) = StoredRun(run).manifests
    return manifest


def folder(run: Path) -> Path:
    path = only(run).path
    assert path is not None
    return run / path


def kinds(run: Path, **more: bool) -> list[str]:
    return [problem.kind for problem in verify(run, **more)]


def test_nothing_wrong(run: Path) -> None:
    assert verify(run) == verify(run, deep=True) == []


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run"):
        verify(tmp_path)


def test_a_manifest_that_is_damaged(run: Path) -> None:
    path = run / manifest_key(only(run).shard_id)
    path.write_bytes(path.read_bytes()[:50])
    found = verify(run)
    assert [problem.kind for problem in found] == ["damaged-manifest", "unreferenced-attempt"]
    assert found[0].where == f"manifests/{path.name}"


def test_shards_that_are_missing_or_torn(run: Path) -> None:
    where = folder(run)
    (where / "points/label/c/0/0").write_bytes(b"short")
    (where / "views/uv/c/0/0").unlink()
    found = verify(run)
    assert [(problem.kind, problem.where.partition(".zarr/")[2]) for problem in found] == [
        ("torn-shard", "points/label/c/0/0"),
        ("torn-shard", "views/uv/c/0/0"),
    ]
    assert len(verify(run, deep=True)) == 2
    where.rename(run / "elsewhere")
    assert kinds(run) == ["missing-shard"]


def test_what_only_deep_can_find(run: Path) -> None:
    file = folder(run) / "regions/feature/c/0/0"
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(bytes(data))
    metadata = folder(run) / "points/label/zarr.json"
    metadata.write_text(metadata.read_text().replace('"uint8"', '"uint9"'))
    assert kinds(run) == []
    assert sorted(kinds(run, deep=True)) == ["checksum", "torn-shard"]


def test_values_that_are_sound_but_not_those_written(run: Path, tmp_path: Path) -> None:
    """A file that was taken from another shard agrees with its own checksums."""
    other = make_run(tmp_path / "other")
    records = some_records(seed=1, count=2)
    write(other, records)
    file = "regions/feature/c/0/0"
    (folder(run) / file).write_bytes((folder(other) / file).read_bytes())
    assert kinds(run) == []
    assert kinds(run, deep=True) == ["checksum"]


def test_overlaps(run: Path) -> None:
    records: list[FrameRecord] = some_records(count=3)
    write(run, records[1:])
    found = [problem for problem in verify(run) if problem.kind == "overlap"]
    assert len(found) == 1
    assert "frame-1" in found[0].detail


def test_clean_removes_old_leftovers_alone(run: Path) -> None:
    leftovers = [
        run / "shards" / "0123456789abcdef-0123456789ab.zarr",
        run / "manifests" / "0123456789abcdef.json.abc.partial",
        run / ".frames.parquet.0123",
        run / "index.parquet.abc.partial",
        run / "manifests" / "0123456789abcdef.json.damaged-0123",
    ]
    (leftovers[0] / "points").mkdir(parents=True)
    for path in [leftovers[0] / "points" / "zarr.json", *leftovers[1:]]:
        path.write_text("x")
    want = ["unreferenced-attempt", "leftover", "leftover", "leftover", "set-aside"]
    assert kinds(run) == want
    assert all(problem.harmless for problem in verify(run))
    assert kinds(run, clean=True) == want
    assert all(path.exists() for path in leftovers)
    long_ago = time.time() - 7200
    for path in [*leftovers[0].rglob("*"), *leftovers]:
        os.utime(path, (long_ago, long_ago))
    os.utime(leftovers[4])
    assert all("removed" in problem.detail for problem in verify(run, clean=True)[:4])
    assert [path.exists() for path in leftovers] == [False, False, False, False, True]
    assert kinds(run, clean=True) == ["set-aside"]
    verify(run, clean=True, min_age=-1)
    assert verify(run, deep=True) == []
    assert len(StoredRun(run)) == 2


def test_clean_never_follows_links(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    (run / "shards" / "0123456789abcdef-0123456789ab.zarr").symlink_to(precious)
    verify(run, clean=True, min_age=-1)
    assert (precious / "data").exists()
    assert verify(run) == []


def test_clean_keeps_shards_while_a_manifest_is_damaged(run: Path) -> None:
    where = folder(run)
    (run / manifest_key(only(run).shard_id)).write_text("{")
    verify(run, clean=True, min_age=-1)
    assert where.exists()


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_the_command_s_json(run: Path) -> None:
    assert call("verify", run, "--deep", "--json") == (0, '{"ok": true, "problems": []}\n')
    (run / "x.partial").write_text("")
    code, text = call("verify", run, "--json")
    assert code == 0
    assert json.loads(text) == {
        "ok": True,
        "problems": [{"kind": "leftover", "where": "x.partial", "detail": "an unfinished write"}],
    }
    (folder(run) / "zarr.json").write_text("{}")
    code, text = call("verify", run, "--json")
    assert code == 1
    answer = json.loads(text)
    assert answer["ok"] is False
    assert answer["problems"][0]["kind"] == "torn-shard"
    assert answer["problems"][0]["where"].endswith("zarr.json")


def test_the_command_s_tables(run: Path) -> None:
    code, text = call("verify", run)
    assert code == 0
    assert "as it was written" in text
    (folder(run) / "zarr.json").unlink()
    code, text = call("verify", run)
    assert code == 1
    assert "torn-shard" in text


def test_the_index_command(run: Path) -> None:
    (run / "index.parquet").unlink()
    code, text = call("index", run, "--json")
    assert code == 0
    assert json.loads(text) == {"path": str(run / "index.parquet"), "frames": 2, "failed": 0}
    assert (run / "index.parquet").exists()
    assert call("index", run)[0] == 0
