"""Modes of semantics from the command line: in the record, in the fingerprint, refused before the run."""

import json

import numpy as np
import pytest

import labelgen
from tests.e2e.conftest import QUICK
from tests.helpers.clip_folder import write_clip_folder

DENSE = ["--set", "semantics.short_side=160", "--frames", "0:2"]


def run_of(shell, job, output, *settings):
    job = [*job]
    job[job.index("--output") + 1] = str(output)
    sets = [part for setting in settings for part in ("--set", setting)]
    made = shell("run", *job, *QUICK, *DENSE, *sets)
    assert made.code == 0, made.err
    return labelgen.open_run(output), json.loads((output / "run.json").read_text())


def test_modes_are_recorded_and_change_labels_and_fingerprint(shell, job, tmp_path):
    runs = {
        name: run_of(shell, job, tmp_path / name, *settings)
        for name, settings in {
            "auto": (),
            "crop": ("semantics.mode=crop",),
            "maskclip": ("semantics.mode=maskclip",),
            "rsa": ("semantics.mode=maskclip", "semantics.assignment=rsa"),
        }.items()
    }
    records = {name: [run.frame(f).record() for f in run.frames] for name, (run, _) in runs.items()}
    settings = {name: record["config"]["semantics"] for name, (_, record) in runs.items()}
    marks = {name: record["fingerprint"] for name, (_, record) in runs.items()}
    assert settings["auto"]["mode"] == "crop", "what auto stood for is what is recorded"
    assert (settings["rsa"]["mode"], settings["rsa"]["assignment"]) == ("maskclip", "rsa")
    assert marks["auto"] == marks["crop"]
    assert len({marks["crop"], marks["maskclip"], marks["rsa"]}) == 3

    def column(name, field):
        return np.concatenate([getattr(record.semantics, field) for record in records[name]])

    assert len(column("crop", "label")) > 40
    assert not np.array_equal(column("crop", "feature"), column("maskclip", "feature"))
    np.testing.assert_array_equal(column("rsa", "feature"), column("maskclip", "feature"))
    assert not np.array_equal(column("rsa", "class_scores"), column("maskclip", "class_scores"))
    for record in records["rsa"]:
        assert (record.labels.label != 255).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["semantics.mode=naclip"], "mode=naclip is not possible with demo"),
        (["semantics.mode=sclip"], "semantics.mode"),
    ],
)
def test_a_mode_that_makes_no_sense_is_refused_before_the_run(shell, job, tmp_path, settings, message):
    refused = shell("run", *job, *QUICK, *[part for setting in settings for part in ("--set", setting)])
    assert refused.code == 2
    assert message in refused.err
    assert not (tmp_path / "run").exists()


def test_a_transformer_from_a_folder_takes_maskattn(shell, job, tmp_path):
    folder = write_clip_folder(tmp_path / "clip")
    checkpoint = f"semantics.checkpoint={folder}"
    run, record = run_of(shell, job, tmp_path / "vit", checkpoint, "semantics.temperature=0.01")
    assert record["config"]["semantics"]["mode"] == "maskattn"
    assert run.frame(next(iter(run.frames))).record().semantics.feature.shape[1] == 24
