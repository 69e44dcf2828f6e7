"""The run's folder: made once, gone on with only by the same settings."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from labelgen.core.errors import UserError
from labelgen.shards import Parent, StoredRun, create_run, read_run_info, resume, verify
from tests.helpers.runs import make_run, some_records, write

SETTINGS: dict[str, Any] = {
    "config": {"regions": {"backend": "sam", "points": 32}, "labels": {"min_margin": 0.02}},
    "taxonomy": {"name": "nuscenes16", "classes": [{"name": "car"}]},
    "models": [{"name": "sam", "revision": "1", "licence": "Apache-2.0", "weights": "abc"}],
}


def test_made_once_and_gone_on_with(tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    first = create_run(run, fingerprint="f1", **SETTINGS)
    again = create_run(run, fingerprint="f1", **(SETTINGS | {"config": {}}))
    assert again == first == read_run_info(run)
    assert first.covered == SETTINGS["config"]
    assert {"labelgen", "python", "numpy"} <= first.tools.keys()
    assert sorted(os.listdir(run)) == ["manifests", "run.json", "shards"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"config": {"regions": {"backend": "sam", "points": 16}}}, r"regions\.points: 32 there, 16 here"),
        (
            {"config": {"regions": {"backend": "sam", "points": 32}}},
            r"labels\.min_margin: 0\.02 there, nothing here",
        ),
        ({"taxonomy": {"name": "kitti"}}, r"taxonomy\.name: nuscenes16 there, kitti here"),
        ({"models": [{"name": "sam", "weights": "xyz"}]}, r"models\.0\.weights: abc there, xyz here"),
        ({}, "the fingerprint covers"),
    ],
)
def test_other_settings_are_refused_and_named(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    create_run(tmp_path / "run", fingerprint="f1", **SETTINGS)
    with pytest.raises(UserError, match=rf"(?s){said}.*another output folder"):
        create_run(tmp_path / "run", fingerprint="f2", **(SETTINGS | other))
    assert read_run_info(tmp_path / "run").fingerprint == "f1"


def test_only_what_the_fingerprint_covers_is_compared(tmp_path: Path) -> None:
    create_run(tmp_path, fingerprint="f1", covered={"x": 1}, **SETTINGS)
    with pytest.raises(UserError) as caught:
        create_run(tmp_path, fingerprint="f2", covered={"x": 2}, **(SETTINGS | {"config": {"threads": 8}}))
    assert "x: 1 there, 2 here" in str(caught.value)
    assert "threads" not in str(caught.value)


def test_many_differences_are_one_line(tmp_path: Path) -> None:
    create_run(tmp_path, fingerprint="f1", **(SETTINGS | {"config": {f"k{n}": "x" * 100 for n in range(50)}}))
    with pytest.raises(UserError, match="and 47 more") as caught:
        create_run(tmp_path, fingerprint="f2", **SETTINGS)
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)


def test_of_many_at_once_one_makes_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with ThreadPoolExecutor(8) as pool:
        infos = list(
            pool.map(
                lambda n: create_run(run, fingerprint="f1", **(SETTINGS | {"config": {"n": n}})), range(8)
            )
        )
    assert all(info == infos[0] for info in infos)
    assert sorted(os.listdir(run)) == ["manifests", "run.json", "shards"]


def test_parent_is_kept(tmp_path: Path) -> None:
    create_run(tmp_path, fingerprint="f1", parent=Parent(path="../base", fingerprint="f0"), **SETTINGS)
    assert read_run_info(tmp_path).parent == Parent(path="../base", fingerprint="f0")


def test_damaged_run_json_names_the_file(tmp_path: Path) -> None:
    create_run(tmp_path, fingerprint="f1", **SETTINGS)
    path = tmp_path / "run.json"
    good = path.read_text()
    path.write_text(good[: len(good) // 2])
    with pytest.raises(UserError, match=r"run\.json"):
        read_run_info(tmp_path)
    path.write_text(json.dumps(json.loads(good) | {"format_version": 7}))
    with pytest.raises(UserError, match=r"run\.json: format_version 7"):
        read_run_info(tmp_path)
    data = json.loads(good)
    del data["taxonomy"]
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"run\.json: taxonomy"):
        read_run_info(tmp_path)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run"):
        read_run_info(tmp_path)
    with pytest.raises(UserError, match="not a run"):
        read_run_info(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another output folder"):
        create_run(tmp_path / "file", fingerprint="f1", **SETTINGS)


def test_a_damaged_run_json_is_written_anew_by_the_same_job_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run, some_records(count=1))
    (run / "run.json").write_bytes((run / "run.json").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"run\.json"):
        StoredRun(run)
    with pytest.raises(UserError, match=r"run\.json"):
        create_run(run, fingerprint="another", config={}, taxonomy={}, models=[])
    make_run(run)
    assert StoredRun(run).frames == ("frame-0",)
    assert [problem.kind for problem in verify(run)] == ["leftover"]


def test_a_damaged_plan_is_moved_aside_by_the_next_job(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run, some_records(count=1))
    (run / "frames.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"frames\.parquet"):
        StoredRun(run)
    assert len(resume(run).done) == 1
    assert StoredRun(run).frames == ("frame-0",)
    assert not (run / "frames.parquet").exists()
    assert len(list(run.glob("frames.parquet.damaged-*"))) == 1
