"""A small run on a small data root, shared by the end-to-end tests."""

from pathlib import Path

import pytest

from tests.helpers.cli import Shell
from tests.helpers.nuscenes_root import make_dataroot

#: Superpixels and the shipped CLIP: the whole way in a fraction of a second per frame.
FAST = [
    "regions.backend=superpixel",
    "regions.superpixel_method=slic",
    "regions.superpixel_segments=20",
    "semantics.context=0",
    "runtime.frames_per_shard=2",
]

#: Options of ``labelgen run`` where neither Ray nor fusion nor the report is what is tested.
QUICK = ["--runner", "sequential", "--no-report", "--set", "fusion.enabled=false"]


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


@pytest.fixture
def dataroot(tmp_path) -> Path:
    return make_dataroot(tmp_path, scenes=2, samples=3)


@pytest.fixture
def job(dataroot, tmp_path) -> list[str]:
    """Arguments of ``labelgen run`` without the runner."""
    return arguments(dataroot, tmp_path / "run")


def arguments(dataroot: Path, output: Path) -> list[str]:
    sets = [part for override in FAST for part in ("--set", override)]
    return ["--dataset", "nuscenes", "--dataroot", str(dataroot), "--output", str(output), *sets]
