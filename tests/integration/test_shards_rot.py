"""Bits that flip in any file of a run: found, set aside by the next call of the same job, and done anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.engine.planning import Plan
from labelgen.io.local import LocalStore
from labelgen.shards import (
    Problem,
    StoredRun,
    build_index,
    done_frames,
    read_plan,
    resume,
    suspects,
    verify,
    write_shard,
)
from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import list_manifests, manifest_key
from labelgen.shards.resume import CHECKED_BYTES
from tests.helpers.cli import Shell
from tests.helpers.light_jobs import label as label_what_is_left
from tests.helpers.light_jobs import light_plan
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.records import assert_stored
from tests.helpers.runs import FINGERPRINT, edit, flip, make_run, some_records


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def records() -> list:  # type: ignore[type-arg]
    return some_records(count=3, points=60, regions=5, captions=True, parents=True, dense="int8", reach=8)


def job(run: Path) -> int:
    """What a job does that labels `records` into a run; gives the number of frames done in this call."""
    make_run(run)
    progress = resume(run, checked_bytes=CHECKED_BYTES)
    todo = [record for record in records() if (record.frame_id, record.source_id) not in progress.done]
    for group in (todo[:2], todo[2:]):
        write_shard(run, group, [], fingerprint=FINGERPRINT)
    build_index(run)
    return len(todo)


def found(run: Path) -> list[Problem]:
    return [problem for problem in verify(run, deep=True) if not problem.harmless]


def all_right(run: Path) -> None:
    assert found(run) == []
    opened = StoredRun(run)
    for record in records():
        assert_stored(opened.frame(record.frame_id).record(), record)
        assert np.array_equal(opened.frame(record.frame_id).dense.values, record.dense.values)


def read(run: Path, field: str = "labels") -> None:
    for frame in StoredRun(run).stream():
        getattr(frame, field)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("sound") / "run"
    assert job(run) == 3
    all_right(run)
    return run


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


FILES = [
    "run.json",
    "index.parquet",
    "manifests/*.json",
    "shards/*/zarr.json",
    "shards/*/regions/rle_offsets/zarr.json",
    "shards/*/frame/id/c/0/0",
    "shards/*/points/label/c/0/0",
    "shards/*/views/uv/c/0/0",
    "shards/*/hits/region/c/0",
    "shards/*/regions/caption_bytes/c/0",
    "shards/*/regions/feature/c/0/0",
    "features/*/dense/quantised/c/0/0/0/0/0",
    "features/*/dense/zarr.json",
]


@pytest.mark.parametrize("pattern", FILES)
def test_a_flipped_bit_is_found_and_heals(run: Path, pattern: str) -> None:
    rng = np.random.default_rng()
    file = sorted(run.glob(pattern))[0]
    at, bit = int(rng.integers(file.stat().st_size)), int(rng.integers(8))
    flip(file, at, bit)
    problems = found(run)
    name = file.relative_to(run).as_posix()
    assert problems, (at, bit)
    assert any(name.startswith(problem.where) for problem in problems), (at, bit, problems)
    assert job(run) == {"run.json": 0, "index.parquet": 0}.get(pattern, 2), (at, bit)
    all_right(run)


@pytest.fixture
def flipped(run: Path) -> str:
    """The id of a shard of which one bit of the labels has flipped."""
    file = sorted(run.glob("shards/*/points/label/c/0/0"))[0]
    flip(file, 20)
    return file.relative_to(run / "shards").parts[0].partition("-")[0]


def test_a_large_run_heals_where_a_reader_met_the_damage(run: Path, flipped: str) -> None:
    assert len(resume(run).done) == 3
    with pytest.raises(DamageError, match=rf"labelgen verify {run} --deep --repair"):
        read(run)
    assert suspects.marked(LocalStore(run)) == {flipped}
    assert len(done_frames(run).done) == 1
    progress = resume(run)
    assert [problem.kind for problem in progress.damaged] == ["torn-shard"]
    assert suspects.marked(LocalStore(run)) == frozenset()
    assert job(run) == 2
    all_right(run)


def test_repair_sets_aside_at_once(run: Path, flipped: str) -> None:
    assert [problem.kind for problem in verify(run, repair=True) if not problem.harmless] == []
    assert (run / manifest_key(flipped)).exists()
    assert [problem.kind for problem in verify(run, deep=True, repair=True)] == ["torn-shard"]
    assert not (run / manifest_key(flipped)).exists()
    assert found(run) == []
    assert len(StoredRun(run)) == 1
    assert job(run) == 2
    all_right(run)


def test_a_mark_is_no_weapon(run: Path) -> None:
    """A sound shard stays, whatever lies in the folder of marks; and nothing else is looked at."""
    folder = run / "suspects"
    folder.mkdir()
    for key in list_manifests(LocalStore(run)):
        (folder / Path(key).stem).write_text('{"damaged": true}')
    for name in ("f" * 16, "..", "0123456789ABCDEF", "\x1b[2J", "x" * 200):
        if name != "..":
            (folder / name).write_text("")
    (folder / "0123456789abcdef").symlink_to(run / "run.json")
    before = {path: path.read_bytes() for path in (run / "manifests").iterdir()}
    assert resume(run).damaged == ()
    assert {path: path.read_bytes() for path in (run / "manifests").iterdir()} == before
    assert suspects.marked(LocalStore(run)) == frozenset()
    all_right(run)


@pytest.mark.parametrize("obstacle", ["link", "file", "read-only"])
def test_reading_goes_on_where_no_mark_can_be_left(
    run: Path, flipped: str, tmp_path: Path, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    if obstacle == "link":
        (run / "suspects").symlink_to(tmp_path / "outside")
    elif obstacle == "file":
        (run / "suspects").write_text("")
    else:

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(LocalStore, "replace", refuse)
    with pytest.raises(DamageError, match="checksum"):
        read(run)
    assert list((tmp_path / "outside").iterdir()) == []
    assert len(done_frames(run).done) == 3


def test_what_cannot_be_set_aside_is_one_line(
    run: Path, flipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(LocalStore, "move", refuse)
    with pytest.raises(UserError, match=r"cannot write to .*Read-only"):
        resume(run, checked_bytes=CHECKED_BYTES)


def test_no_more_is_checked_than_is_asked_for(run: Path, flipped: str) -> None:
    manifest = next(one for one in StoredRun(run).manifests if one.shard_id == flipped)
    parts = [manifest, manifest.apart()]
    size = sum(size for part in parts if part is not None for _, size in part.files())
    assert len(done_frames(run, checked_bytes=size // 2).done) == 3
    assert len(done_frames(run, checked_bytes=10 * size).done) == 1


def test_dense_features_may_be_gone_but_not_torn(run: Path) -> None:
    for folder in (run / "features").iterdir():
        shutil.rmtree(folder)
    assert len(resume(run).done) == 3
    folder = sorted((run / "shards").iterdir())[0].name
    (run / "features" / folder).mkdir()
    (run / "features" / folder / "zarr.json").write_text("{}")
    assert len(resume(run).done) < 3


def test_all_of_a_run_s_records_at_once(run: Path) -> None:
    for file in (run / "run.json", run / "index.parquet", *(run / "manifests").iterdir()):
        flip(file, file.stat().st_size // 2)
    assert job(run) == 3
    all_right(run)


# --- the main job, derived runs and commands ----------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataroot(tmp_path_factory.mktemp("root"), scenes=1, samples=4)


def plan_of(root: Path, run: Path) -> Plan:
    return light_plan(root, run, ("runtime.runner=sequential",))


@pytest.fixture(scope="module")
def labelled(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("labelled") / "run"
    label_what_is_left(plan_of(root, run))
    return run


@pytest.mark.parametrize(
    ("pattern", "todo"),
    [("shards/*/points/label/c/0/0", 2), ("manifests/*.json", 2), ("frames.parquet", 0), ("run.json", 0)],
)
def test_the_same_job_heals(root: Path, labelled: Path, tmp_path: Path, pattern: str, todo: int) -> None:
    run = tmp_path / "run"
    shutil.copytree(labelled, run)
    file = sorted(run.glob(pattern))[0]
    flip(file, file.stat().st_size // 3)
    assert found(run)
    plan = plan_of(root, run)
    assert len(plan.job.frames) == todo
    assert len(plan.progress.damaged) == 1
    assert label_what_is_left(plan).labelled == todo
    assert found(run) == []
    assert plan_of(root, run).progress.damaged == ()
    assert (len(read_plan(run)[0]), len(StoredRun(run))) == (4, 4)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture
def pair(root: Path, labelled: Path, tmp_path: Path, shell: Shell) -> tuple[Path, Path]:
    """A run and one that is derived from it, beside each other."""
    shutil.copytree(labelled, tmp_path / "run")
    assert shell("revote", tmp_path / "run", "--output", tmp_path / "derived").code == 0
    return tmp_path / "run", tmp_path / "derived"


def test_a_derived_run_heals(pair: tuple[Path, Path], shell: Shell) -> None:
    run, derived = pair
    flip(sorted(derived.glob("shards/*/points/label/c/0/0"))[0], 20)
    damaged = shell("verify", derived, "--deep")
    assert damaged.code == 1
    assert "points/label" in damaged.out
    assert "call the job that made the run again" in " ".join(damaged.out.split())
    again = shell("revote", run, "--output", derived, "--json")
    assert (again.code, again.json["frames"]) == (0, 4)
    assert shell("verify", derived, "--deep").code == 0


def test_damage_of_the_parent_is_named_as_its_own(pair: tuple[Path, Path], shell: Shell) -> None:
    run, derived = pair
    flip(sorted(run.glob("shards/*/views/point/c/0"))[0], 20)
    with pytest.raises(DamageError, match=rf"views/point.*labelgen verify {run} --deep --repair"):
        read(derived, "views")
    assert suspects.marked(LocalStore(run))
    assert suspects.marked(LocalStore(derived)) == frozenset()
    flip(sorted(run.glob("manifests/*.json"))[0], 50)
    answer = shell("verify", derived)
    assert answer.code == 1
    assert "../run/manifests/" in answer.out or f"{run}/manifests/" in "".join(answer.out.split())


def test_verify_looks_for_the_parent(pair: tuple[Path, Path], shell: Shell) -> None:
    run, derived = pair
    short = shell("verify", derived)
    assert (short.code, "sizes only" in short.out) == (0, True)
    whole = shell("verify", derived, "--deep")
    assert (whole.code, "sizes only" in whole.out) == (0, False)
    manifest = sorted((run / "manifests").glob("*.json"))[0]
    manifest.rename(run / "elsewhere")
    fewer = shell("verify", derived)
    assert fewer.code == 1
    assert "has no frame" in fewer.out
    assert "and 1 more frames" in " ".join(fewer.out.split())
    shutil.rmtree(run)
    for words in (["verify", derived], ["inspect", derived]):
        gone = shell(*words)
        assert gone.code == (1 if words[0] == "verify" else 2)
        assert "the parent run is gone" in " ".join((gone.out + gone.err).split())


def test_a_derived_run_behind_a_link(pair: tuple[Path, Path], shell: Shell) -> None:
    run, derived = pair
    deep = derived.parent / "deep" / "er"
    deep.mkdir(parents=True)
    derived.rename(deep / "derived")
    derived.symlink_to("deep/er/derived")
    assert shell("inspect", derived).code == 0
    assert shell("verify", derived, "--deep").code == 0
    run.rename(deep / "run")  # beside the folder itself
    assert shell("inspect", derived).code == 0
    shutil.rmtree(deep / "run")
    gone = shell("inspect", derived)
    assert gone.code == 2
    assert f"{derived} is a link to {deep / 'derived'}" in gone.err
    assert f"none at {run}" in gone.err


def test_class_names_that_changed_places(root: Path, labelled: Path, tmp_path: Path, shell: Shell) -> None:
    run = tmp_path / "run"
    shutil.copytree(labelled, run)
    before = (run / "run.json").read_bytes()

    def swap(content: dict) -> None:  # type: ignore[type-arg]
        one, other = content["taxonomy"]["classes"][:2]
        one["name"], other["name"] = other["name"], one["name"]

    edit(run / "run.json", swap)
    (run / "run.json").write_bytes((run / "run.json").read_bytes()[:-36] + before[-36:])
    checked = shell("verify", run)
    assert checked.code == 1
    assert "run: run.json" in checked.out
    assert "run.json" in shell("inspect", run).err
    label_what_is_left(plan_of(root, run))
    assert StoredRun(run).info.taxonomy == StoredRun(labelled).info.taxonomy
    assert shell("verify", run, "--deep").code == 0
