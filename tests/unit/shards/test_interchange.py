"""verify --deep notices when zarr-python would read something else than we wrote."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest

from labelgen.shards import StoredRun, verify
from labelgen.shards.interchange import differences
from tests.helpers.runs import make_run, some_records, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_run(tmp_path / "run")
    write(path, some_records(count=2))
    return path


def test_zarr_reads_what_was_written(run: Path) -> None:
    (manifest,) = StoredRun(run).manifests
    assert list(differences(run, manifest)) == []


def test_other_values_are_told_by_array(run: Path) -> None:
    (manifest,) = StoredRun(run).manifests
    entry = manifest.arrays["points/label"]
    wrong = manifest.model_copy(
        update={"arrays": {**manifest.arrays, "points/label": entry.model_copy(update={"blake2b": "0" * 32})}}
    )
    (problem,) = differences(run, wrong)
    assert problem.kind == "not-zarr"
    assert problem.where.endswith("points/label")


def test_metadata_that_zarr_refuses(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer's mistake that our own reader shares: only the second opinion can tell."""
    (manifest,) = StoredRun(run).manifests
    assert manifest.path is not None
    (run / manifest.path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "surprise": 1}')
    assert next(differences(run, manifest)).kind == "not-zarr"
    module = importlib.import_module("labelgen.shards.verify")  # the package's `verify` is the function
    monkeypatch.setattr(module.Shard, "problems", lambda self, deep: iter(()))
    monkeypatch.setattr(module, "file_problems", lambda store, manifest, sizes: iter(()))
    assert "not-zarr" in {problem.kind for problem in verify(run, deep=True)}


def test_problem_fields_are_plain(run: Path) -> None:
    (manifest,) = StoredRun(run).manifests
    gone = manifest.model_copy(update={"path": "shards/none.zarr"})
    (problem,) = differences(run, gone)
    assert set(dataclasses.asdict(problem)) >= {"kind", "where", "detail"}
