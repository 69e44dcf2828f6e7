"""Modes of semantics from the command line: in the record, in the fingerprint, refused before the run."""

import json

import numpy as np
import pytest

import labelgen
from tests.e2e.conftest import QUICK
from tests.helpers.clip_folder import write_clip_folder

DENSE = ["--set", "semantics.short_side=96", "--frames", "0:1"]


def options(settings):
    return [part for setting in settings for part in ("--set", setting)]


def run_of(shell, job, output, *settings):
    job = [*job]
    job[job.index("--output") + 1] = str(output)
    made = shell("run", *job, *QUICK, *DENSE, *options(settings))
    assert made.code == 0, made.err
    run = labelgen.open_run(output)
    return run.frame(next(iter(run.frames))).record(), json.loads((output / "run.json").read_text())


def test_modes_are_recorded_and_change_labels(shell, job, tmp_path):
    mean, of_mean = run_of(shell, job, tmp_path / "mean", "semantics.mode=maskclip")
    rsa, of_rsa = run_of(shell, job, tmp_path / "rsa", "semantics.mode=maskclip", "semantics.assignment=rsa")
    assert of_mean["config"]["semantics"]["mode"] == "maskclip"
    assert of_rsa["config"]["semantics"]["assignment"] == "rsa"
    assert of_mean["fingerprint"] != of_rsa["fingerprint"]
    np.testing.assert_array_equal(rsa.semantics.feature, mean.semantics.feature)
    assert not np.array_equal(rsa.semantics.class_scores, mean.semantics.class_scores)
    assert (rsa.labels.label != 255).any()


def test_the_fingerprint_is_that_of_what_auto_stands_for(shell, job):
    marks = {}
    for mode in ("auto", "crop", "maskclip", "pool"):
        planned = shell("plan", *job, *options([f"semantics.mode={mode}"]), "--json")
        assert planned.code == 0, planned.err
        marks[mode] = planned.json["fingerprint"]
    assert marks["auto"] == marks["crop"]
    assert len(set(marks.values())) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["semantics.mode=naclip"], "mode=naclip is not possible with demo"),
        (["semantics.mode=sclip"], "semantics.mode"),
    ],
)
def test_a_mode_that_makes_no_sense_is_refused_before_the_run(shell, job, tmp_path, settings, message):
    refused = shell("run", *job, *QUICK, *options(settings))
    assert refused.code == 2
    assert message in refused.err
    assert not (tmp_path / "run").exists()


def test_a_transformer_from_a_folder_takes_maskattn(shell, job, tmp_path):
    folder = write_clip_folder(tmp_path / "clip")
    checkpoint = f"semantics.checkpoint={folder}"
    frame, record = run_of(shell, job, tmp_path / "vit", checkpoint, "semantics.temperature=0.01")
    assert record["config"]["semantics"]["mode"] == "maskattn"
    assert frame.semantics.feature.shape[1] == 24
