"""The wheel without extras, beside the newest numpy: runs are read, streamed, verified, exported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labelgen.config import RunConfig
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot

ROOT = Path(__file__).resolve().parents[2]
READ = """
import sys, numpy, labelgen
from labelgen.shards import verify
run = labelgen.open_run(sys.argv[1])
assert int(numpy.__version__.split(".")[0]) >= 2
frame = run.frame(run.frames[0])
assert len(frame.labels.label) == frame.num_points == len(frame.xyz) == len(frame.truth)
assert frame.image(frame.planned.cameras[0].name).ndim == 3
frame.record()
stream = labelgen.ShardStream(run, ["points/xyz", "points/label", "regions/feature"])
assert sorted(sample["frame_id"] for sample in stream) == sorted(run.frames)
assert len(labelgen.LabelDataset(run)) == len(run.frames)
assert verify(sys.argv[1], deep=True) == []
print(labelgen.export(run, "lidarseg-overlay", sys.argv[2])["files"])
"""


@pytest.mark.slow
def test_a_run_is_used_without_any_extra(tmp_path):
    uv = Path(sys.executable).with_name("uv")

    def call(*command: object) -> str:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    tree = tmp_path / "tree"  # what a build leaves behind is no part of a checkout
    shutil.copytree(ROOT / "labelgen", tree / "labelgen", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    call(uv, "build", "--wheel", "--quiet", "--out-dir", tmp_path / "wheel", tree)
    call(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "light")
    python = tmp_path / "light" / "bin" / "python"
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    installed = subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, wheel],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"packages cannot be fetched: {installed.stderr.strip().splitlines()[-1]}")
    there = call(uv, "pip", "list", "--python", python)
    assert not {"torch", "ray", "numba", "scipy", "nuscenes-devkit"} & set(there.split())

    config = RunConfig.model_validate({"shards": {"store_points": True}})
    root = make_dataroot(tmp_path, scenes=2, samples=2)
    run = label("nuscenes", root, tmp_path / "run", config)
    call(python, "-c", READ, run, tmp_path / "out")
    command = python.with_name("labelgen")
    assert "frames" in call(command, "inspect", run)
    call(command, "verify", "--deep", run)
    call(command, "evaluate", run)
    call(command, "export", run, "--format", "nuscenes-lidarseg", "--fill", "car", "--out", tmp_path / "more")
    refused = subprocess.run(
        [command, "fuse", run], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert refused.returncode == 2
    assert "pip install 'labelgen[labels]'" in refused.stderr
