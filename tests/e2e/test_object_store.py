"""Whole commands on a run that lives in an object store, whose requests fail and lose their replies."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from labelgen.io.place import open_store
from labelgen.runs import open_run
from tests.e2e.conftest import arguments
from tests.e2e.test_main_job import assert_same_record
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.s3 import S3Server

FAULTS = ("500", "503", "lost", "lost 500")


def failing(share: float):
    """Of so many requests one of the faults, whatever they ask for."""
    rng, lock = np.random.default_rng(0), threading.Lock()

    def fault(method: str, path: str) -> str | None:
        with lock:
            return FAULTS[int(rng.integers(4))] if rng.random() < share else None

    return fault


@pytest.fixture
def dataroot(tmp_path: Path) -> Path:
    return make_dataroot(tmp_path, scenes=1, samples=2)


def test_the_main_job_writes_to_a_store_what_it_writes_to_a_disk(
    shell, dataroot: Path, tmp_path: Path, object_store: S3Server
) -> None:
    url = f"{object_store.bucket()}/runs/one"
    disk = arguments(dataroot, tmp_path / "run")
    remote = [*disk[: disk.index("--output")], "--output", url, *disk[disk.index("--output") + 2 :]]
    local = shell("run", *disk, "--runner", "sequential", "--no-report", "--json")
    assert local.code == 0, local.err
    before = shell("plan", *remote, "--json").json
    assert (before["run"], before["done"], before["todo"]) == (url, 0, 2)

    object_store.fault = failing(0.1)
    part = shell("run", *remote, "--runner", "sequential", "--no-report", "--frames", "0:1", "--json")
    done = shell("run", *remote, "--runner", "sequential", "--json")
    again = shell("run", *remote, "--runner", "sequential", "--json")
    object_store.fault = None
    assert sum(object_store.given.values()) > 20
    assert (part.code, part.json["labelled"]) == (0, 1), part.err
    assert (done.code, done.json["todo"], done.json["labelled"]) == (0, 1, 1), done.err
    assert (again.code, again.json["todo"]) == (0, 0), again.err

    assert not Path("s3:").exists()
    for name in ("run", "fused"):
        mine, theirs = open_run(done.json[name]), open_run(local.json[name])
        assert mine.url == (url if name == "run" else f"{url}-fused")
        assert set(mine.frames) == set(theirs.frames)
        for frame_id in mine.frames:
            assert_same_record(mine.frame(frame_id).record(), theirs.frame(frame_id).record())
        assert shell("verify", mine.url, "--deep", "--json").json == {"ok": True, "problems": []}
    assert open_run(done.json["fused"]).info.parent.path == "../one"
    for name, begin in (("report", b"<!doctype html>"), ("picture", b"\x89PNG")):
        place = done.json[name]
        folder, _, file = place.rpartition("/")
        assert folder.startswith("s3://")
        assert open_store(folder).read(file).startswith(begin)
    after = shell("plan", *remote, "--json").json
    assert (after["done"], after["todo"]) == (2, 0)
    assert 0.5 < after["estimated_bytes"] / sum(open_store(url).sizes("shards").values()) < 2


@pytest.fixture
def stored(dataroot: Path, object_store: S3Server) -> str:
    """A labelled run at an address, made without models."""
    return str(label("nuscenes", dataroot, f"{object_store.bucket()}/runs/one"))  # type: ignore[arg-type]


def test_every_command_takes_an_address(
    shell, stored: str, tmp_path: Path, dataroot: Path, object_store: S3Server
) -> None:
    def call(*words: object, code: int = 0) -> object:
        result = shell(*words, "--json")
        assert result.code == code, result.err
        return result.json

    object_store.fault = failing(0.05)
    assert call("inspect", stored)["run"] == stored
    assert call("inspect", stored, "--errors")["frames"] == 2
    assert len(call("inspect", stored, "--worst", 2)) == 2
    assert 0 <= call("evaluate", stored)["miou"] <= 1
    assert call("index", stored) == {"path": f"{stored}/index.parquet", "frames": 2, "failed": 0}
    assert call("verify", stored, "--deep") == {"ok": True, "problems": []}
    picture = call("inspect", stored, "--frame", 0)["picture"]
    assert picture.startswith(f"{stored}/report/")
    assert open_store(stored).read(picture.removeprefix(f"{stored}/")).startswith(b"\x89PNG")
    page = call("report", stored, "--pictures", 1)["report"]
    assert open_store(stored).read(page.removeprefix(f"{stored}/")).startswith(b"<!doctype html>")
    assert call("report", stored, "--pictures", 0, "--out", tmp_path / "r")["report"].startswith(
        str(tmp_path)
    )

    voted = call("revote", stored, "--min-margin", 0.3)["run"]
    assert voted == f"{stored}-revote"
    fused = call("fuse", stored, "--output", tmp_path / "fused")["run"]  # a run on disk over one that is not
    assert open_run(fused).parent.url == stored
    changed = call("diff", stored, voted)
    assert (changed["frames"], changed["only_a"]) == (2, [])
    assert call("diff", voted, fused)["frames"] == 2
    whole = call("compact", voted, f"{stored}-compact")
    assert whole == {"path": f"{stored}-compact", "shards": 1}
    assert call("diff", voted, whole["path"])["changed"] == 0

    out = tmp_path / "overlay"
    assert call("export", voted, "--format", "lidarseg-overlay", "--out", out)["frames"] == 2
    imported = f"{stored}-imported"
    assert call("import", out, "--plan", f"{stored}/frames.parquet", "--out", imported)["frames"] == 2
    assert call("diff", voted, imported)["changed"] == 0
    object_store.fault = None
    assert sum(object_store.given.values()) > 20
    shutil.rmtree(dataroot)
    assert call("inspect", fused)["frames"] == 2


def test_what_cannot_be_at_an_address_says_so(shell, stored: str, dataroot: Path, tmp_path: Path) -> None:
    def refused(*words: object) -> str:
        result = shell(*words)
        assert result.code == 2
        (line,) = result.err.strip().splitlines()
        return line

    elsewhere = "s3://bucket/out"
    assert "local disk" in refused("export", stored, "--format", "slidr", "--out", elsewhere)
    assert "s3://bucket/folder" in refused("inspect", "az://box/run")
    job = arguments(dataroot, tmp_path / "run")
    job[job.index("--output") + 1] = elsewhere
    assert "regions.label_map" in refused("run", *job, "--set", "regions.label_map=true")
    assert "local disk" in refused("world", "build", "--out", elsewhere)
    assert "local disk" in refused("view", stored, "--save", "s3://bucket/run.rrd")
    assert "local disk" in refused("run", "--dataset", "nuscenes", "--dataroot", "s3://bucket/data")
    assert "is not a run" in refused("inspect", f"{stored}-none")
    assert not list(Path().glob("s3:*"))
