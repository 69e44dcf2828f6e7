"""The example trainer runs on a run alone, local or remote, with worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.runs import make_run, some_records, write
from tests.helpers.s3 import S3Server

ROOT = Path(__file__).resolve().parents[2]


def train(run: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "examples/train_from_cache.py", run],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]


def test_it_trains_from_a_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write(run, some_records(count=4, points=60, cloud=True))
    losses = train(str(run))
    assert len(losses) == 8
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_it_trains_from_an_object_store(object_store: S3Server) -> None:
    url = f"{object_store.bucket()}/run"
    make_run(Path(url))
    write(url, some_records(count=4, points=60, cloud=True))
    assert len(train(url)) == 8
