"""The oracle ladder on a small simulated city: truth above, a made-up run below."""

from __future__ import annotations

import pytest

from labelgen.config import RunConfig
from labelgen.demo.ladder import RUNGS
from labelgen.demo.world import VAL_SEEDS, build
from labelgen.runs import open_run
from tests.helpers.cli import Shell
from tests.helpers.labelled_runs import label

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    root = folder / "city"
    build(root, scenes=1, frames=2, seed=VAL_SEEDS.start, image_size=(400, 226))
    config = RunConfig.model_validate({"dataset": "nuscenes", "semantics": {"model": "demo"}})
    return root, label("nuscenes", root, folder / "run", config)


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def test_each_rung_is_what_it_says(made, shell, tmp_path):
    _, run = made
    found = shell("evaluate", run, "--ladder", "--json")
    assert found.code == 0, found.err
    rungs = found.json["ladder"]
    assert list(rungs) == list(RUNGS)
    scores = shell("evaluate", run, "--json").json
    for key in ("miou", "coverage", "miou_all"):
        assert rungs["run"][key] == pytest.approx(scores[key], abs=0.01)  # stored pixels are rounded
    # Truth in the place of every stage, then of fewer and fewer.
    assert rungs["projection"]["right"] > 0.97
    assert rungs["true"]["right"] > 0.97
    assert rungs["true"]["miou"] > rungs["untested"]["miou"]
    assert rungs["true"]["miou"] > max(rungs["true_masks"]["miou"], rungs["true_classes"]["miou"])
    assert rungs["true_classes"]["miou"] > rungs["run"]["miou"]  # whose classes are made up
    assert rungs["fused"]["coverage"] > rungs["run"]["coverage"]
    assert rungs["afi"]["coverage"] >= rungs["fused"]["coverage"]

    fused = tmp_path / "fused"
    assert shell("fuse", run, "--output", fused).code == 0
    again = shell("evaluate", fused, "--json").json
    assert rungs["fused"]["miou"] == pytest.approx(again["miou"], abs=1e-6)
    assert len(open_run(fused)) == 2
    table = shell("evaluate", fused, "--ladder")  # is climbed from its parent
    assert "true masks and classes, own depth test" in " ".join(table.out.split())


def test_truth_that_is_gone_is_named(made, shell, tmp_path):
    root, run = made
    (path,) = sorted((root / "truth/object/CAM_FRONT").glob("*.png"))[:1]
    moved = path.rename(tmp_path / path.name)
    try:
        found = shell("evaluate", run, "--ladder")
    finally:
        moved.rename(path)
    assert found.code == 2
    assert path.name in found.err
