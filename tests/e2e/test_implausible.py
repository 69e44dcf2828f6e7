"""Data that make no sense stop a run: before it, while it is at work, or at its end; `--allow` goes on."""

from __future__ import annotations

import json

import pytest

from labelgen.datasets.checks import CHECKS, Check, Odd
from labelgen.engine import driver
from labelgen.runs import open_run
from tests.e2e.conftest import QUICK


@pytest.fixture
def odd(monkeypatch):
    """A check that stops runs; set ``spared`` to the number of looks that it lets pass first."""
    state = {"spared": 0}

    def function(sight):
        state["spared"] -= 1
        if state["spared"] < 0:
            yield Odd(f"frame {sight.frame.frame_id} makes no sense", "mend it", "all")

    monkeypatch.setitem(CHECKS, "test-odd", Check("test-odd", True, "frame", "", function))
    return state


def test_what_makes_no_sense_is_refused_before_anything_is_written(odd, job, shell, tmp_path):
    for command in ("run", "plan"):
        more = QUICK if command == "run" else []
        found = shell(command, *job, *more)
        assert found.code == 2
        assert "makes no sense; mend it (5 of 5 frames" in found.err
        assert "--allow test-odd" in found.err
    assert not (tmp_path / "run").exists()
    looked = shell("doctor", *job, "--json")
    (finding,) = (f for f in looked.json["findings"] if f["check"] == "test-odd")
    assert finding["ok"] is False


def test_what_is_allowed_is_labelled(odd, job, shell, tmp_path):
    assert shell("run", *job, *QUICK, "--allow", "test-odd").code == 0
    assert len(open_run(tmp_path / "run")) == 6
    misspelt = shell("run", *job, *QUICK, "--allow", "test-od")
    assert misspelt.code == 2
    assert "did you mean test-odd" in misspelt.err


def test_what_most_frames_show_ends_a_run_early(odd, job, shell, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "ENOUGH", 2)
    odd["spared"] = 5  # what the plan looks at
    found = shell("run", *job, *QUICK)
    assert found.code == 2
    assert "makes no sense" in found.err
    opened = open_run(tmp_path / "run")
    assert 2 <= len(opened) < 6  # what was labelled is kept
    assert "makes no sense" in shell("inspect", tmp_path / "run").out
    # The same call goes on, if it is told that all is well.
    assert shell("run", *job, *QUICK, "--allow", "test-odd").code == 0
    assert len(open_run(tmp_path / "run")) == 6


def test_what_few_frames_show_is_a_warning_that_stays(odd, job, shell, tmp_path):
    odd["spared"] = 4
    odd_run = shell("run", *job, "--runner", "sequential", "--set", "fusion.enabled=false", "--frames", "0:5")
    assert odd_run.code == 2  # all frames after the plan's four
    kept = json.loads((tmp_path / "run/run.json").read_text())["warnings"]
    assert [(one["check"], one["refuse"], one["count"]) for one in kept] == [("test-odd", False, 1)]
