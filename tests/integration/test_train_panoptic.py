"""`labelgen train panoptic` from the shell: a training, its segments as a run, scores by base and novel."""

import json

import numpy as np
import pytest

from labelgen.runs import open_run
from tests.helpers.cli import Shell
from tests.helpers.training_runs import make_training_run

SMALL = [
    "--set", "backbone=waffleiron-3-12",
    "--set", "backbone_settings={cell: 1.0, low: [-16, -16, -4], high: [16, 16, 8], neighbours: 6}",
    "--set", "runtime={workers: 0, threads: 1, device: cpu, log_every: 1}",
    "--set", "optimizer={batch_size: 2, warmup: 0, learning_rate: 0.01, ema: 0, epochs: 15}",
    "--set", "settings.decoder={width: 16, layers: 1, queries: 6, seeds: 4, heads: 2, hidden: 16}",
]  # fmt: skip
CLASSES = ["--set", "settings.vocabulary=classes"]


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def test_segments_from_end_to_end(shell, tmp_path):
    run, split = make_training_run(tmp_path, ("a", "b"), 2), tmp_path / "no-trees.yaml"
    split.write_text("novel: [tree]\n")
    done = shell("train", "panoptic", run, "--classes", split, "--split", "b", *SMALL, *CLASSES, "--json")
    assert done.code == 0, done.err
    folder = tmp_path / "run-panoptic"
    assert done.json["checkpoint"] == str(folder)
    assert done.json["settings"]["novel"] == ["tree"]
    assert json.loads((folder / "results.json").read_text())["scores"] == done.json["scores"]
    groups = done.json["scores"]["network"]["panoptic"]["groups"]
    assert groups["novel stuff"]["classes"] == 1
    assert groups["base stuff"]["pq"] > 0.3

    split.unlink()  # a checkpoint is complete in itself
    labels = tmp_path / "labels"
    flat = shell("train", "predict", run, folder, "--output", labels, "--afi")
    assert flat.code == 2
    assert "leave out --afi" in flat.err
    done = shell("train", "predict", run, folder, "--output", labels, "--json")
    assert (done.json["frames"], done.json["failed"]) == (4, 0), done.err
    for frame_id in open_run(labels).frames:
        found = open_run(labels).frame(frame_id).labels
        assert set(np.unique(found.label)) <= {0, 1, 2, 255}
        assert not found.instance[found.label != 1].any()
        assert (found.instance[found.label == 1] > 0).all()
    split.write_text("novel: [tree]\n")
    scores = shell("evaluate", labels, "--classes", split, "--json").json["panoptic"]["devkit"]["groups"]
    assert scores["novel stuff"]["classes"] == 1
    assert shell("verify", labels, "--json").json["ok"]

    shown = shell("train", "panoptic", run, "--classes", split, "--split", "b", *SMALL, *CLASSES)
    assert "novel stuff" in shown.out  # it is done already, and shown again


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--classes", "nuscenes-b12n4"], "not a class of taxonomy toy"),
        (["--classes", "nowhere"], "neither a file nor one of"),
        (["--variant", "best"], "best"),
        (["--labels", "none"], "none"),
        ([], "text encoder"),  # the run's is not known
        (["--set", "settings.decoder.layers=0"], "layers"),
    ],
)
def test_bad_arguments_are_one_line(shell, tmp_path, arguments, word):
    run = make_training_run(tmp_path, ("a", "b"), 1)
    done = shell("train", "panoptic", run, "--split", "b", *SMALL, *arguments)
    assert done.code == 2
    assert word in done.err
    assert not (tmp_path / "run-panoptic" / "model.safetensors").exists()
