"""Runs that hold what they must not: every command refuses them in one line that names file and field."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import Shell
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.runs import edit

READERS = ("inspect", "evaluate", "report", "diff", "export")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return label("nuscenes", make_dataroot(folder, scenes=1, samples=2), folder / "sound")


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def words_of(command: str, run: Path, sound: Path) -> list[object]:
    more: dict[str, list[object]] = {
        "diff": [sound],
        "export": ["--format", "lidarseg-overlay", "--out", run.parent / "out"],
        "report": ["--pictures", 0],
    }
    return [command, run, *more.get(command, [])]


def manifest(run: Path) -> Path:
    return sorted((run / "manifests").glob("*.json"))[0]


def shard(run: Path) -> Path:
    return run / json.loads(manifest(run).read_text())["path"]


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def array(name: str, **values: object) -> Callable[[Path], None]:
    return lambda run: edit(manifest(run), lambda m: m["arrays"][name].update(values))


#: What is done to a run, what its readers say of it, and what kind of problem it is for `verify`.
DAMAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "run.json cut off": (lambda r: half(r / "run.json"), ("run.json", "Invalid JSON"), "run"),
    "run.json is a list": (lambda r: (r / "run.json").write_text("[]"), ("run.json", "object"), "run"),
    "run.json lacks a field": (
        lambda r: edit(r / "run.json", lambda c: c.pop("taxonomy")),
        ("run.json", "taxonomy"),
        "run",
    ),
    "run of a later version": (
        lambda r: edit(r / "run.json", lambda c: c.update(format_version=2)),
        ("run.json", "format_version 2", "install a later one"),
        "",
    ),
    "version is not a number": (
        lambda r: edit(r / "run.json", lambda c: c.update(format_version="1")),
        ("run.json", "format_version"),
        "run",
    ),
    "manifest cut off": (lambda r: half(manifest(r)), ("manifests/", "Invalid JSON"), "damaged-manifest"),
    "manifest of a later version": (
        lambda r: edit(manifest(r), lambda c: c.update(format_version=9)),
        ("manifests/", "format_version 9"),
        "",
    ),
    "nesting without an end": (
        lambda r: manifest(r).write_text("[" * 200_000),
        ("manifests/", "JSON"),
        "damaged-manifest",
    ),
    "another type": (
        array("points/label", dtype="uint16"),
        ("manifests/", "points/label is uint16", "uint8"),
        "damaged-manifest",
    ),
    "another shape": (
        array("points/label", shape=[2, 7]),
        ("manifests/", "points/", "axis N"),
        "damaged-manifest",
    ),
    "negative shape": (array("views/uv", shape=[-1, 2]), ("manifests/", "views/uv"), "damaged-manifest"),
    "path out of the run": (
        lambda r: edit(manifest(r), lambda c: c.update(path="../elsewhere.zarr")),
        ("manifests/", "path", "../elsewhere.zarr"),
        "damaged-manifest",
    ),
    "array out of the shard": (
        lambda r: edit(manifest(r), lambda c: c["arrays"].update({"../x": c["arrays"]["points/label"]})),
        ("manifests/", "arrays", "../x"),
        "damaged-manifest",
    ),
    "shard is a link out of the run": (
        lambda r: (
            shutil.move(shard(r), r.parent / "elsewhere"),
            shard(r).symlink_to(r.parent / "elsewhere"),
        ),
        ("shards/", "link that leaves"),
        "torn-shard",
    ),
    "chunks gone": (
        lambda r: (shard(r) / "points/label/c/0/0").unlink(),
        ("shards/", "points/label", "cannot be opened"),
        "torn-shard",
    ),
    "chunks cut off": (
        lambda r: half(shard(r) / "points/label/c/0/0"),
        ("shards/", "points/label", "bytes long"),
        "torn-shard",
    ),
    "shard of a later version": (
        lambda r: edit(shard(r) / "zarr.json", lambda c: c["attributes"].update(format_version=2)),
        ("shards/", "zarr.json"),
        "checksum",
    ),
    "plan is no Parquet": (
        lambda r: (r / "frames.parquet").write_bytes(b"PAR1" + b"\0" * 100),
        ("frames.parquet",),
        "damaged-plan",
    ),
}
#: The summary is made of the manifests alone.
OF_MANIFESTS = {"inspect"}
WITHOUT_SHARDS = {
    "shard is a link out of the run",
    "chunks gone",
    "chunks cut off",
    "shard of a later version",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_by_name(shell: Shell, run: Path, sound: Path, damage: str) -> None:
    harm, words, kind = DAMAGES[damage]
    harm(run)
    for command in READERS:
        if damage in WITHOUT_SHARDS and command in OF_MANIFESTS:
            continue
        result = shell(*words_of(command, run, sound))
        assert result.code == 2, (command, result.out, result.err)
        (line,) = result.err.strip().splitlines()
        assert all(word in line for word in words), (command, line)
    assert not (run.parent / "out").exists()
    checked = shell("verify", run, "--json")
    if kind:
        assert checked.code == 1
        assert kind in {problem["kind"] for problem in checked.json["problems"]}
    else:
        assert checked.code == 2
        assert words[0] in checked.err


def test_a_taxonomy_that_lacks_a_class(shell: Shell, run: Path, sound: Path) -> None:
    edit(run / "run.json", lambda c: c["taxonomy"].update(classes=c["taxonomy"]["classes"][:8]))
    for command in ("evaluate", "export"):
        result = shell(*words_of(command, run, sound))
        assert result.code == 2
        assert "nuscenes16" in result.err
        assert "Traceback" not in result.err
    problems = shell("verify", run, "--json").json["problems"]
    assert {problem["kind"] for problem in problems} == {"unknown-class"}
    assert "8 classes" in problems[0]["detail"]


def test_ids_that_would_leave_the_folder(shell: Shell, run: Path, sound: Path) -> None:
    """Such an id can be in a manifest that someone else wrote; it never becomes a file's name."""

    def rename(content: dict[str, Any]) -> None:
        content["frames"][0]["frame_id"] = "../../out"

    before = sorted(os.listdir(run.parent))
    edit(manifest(run), rename)
    for words in (
        ["inspect", run],
        ["inspect", run, "--frame", "../../out"],
        ["report", run],
        words_of("export", run, sound),
        ["export", run, "--format", "slidr", "--out", run.parent / "out"],
    ):
        result = shell(*words)
        assert result.code == 2, words
        assert "frames.0.frame_id" in result.err
    kinds = {problem["kind"] for problem in shell("verify", run, "--json").json["problems"]}
    assert kinds == {"damaged-manifest", "unreferenced-attempt"}
    assert sorted(os.listdir(run.parent)) == before
    assert not (run.parent.parent / "out.png").exists()
