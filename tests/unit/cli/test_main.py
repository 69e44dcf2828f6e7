"""What the command line makes of errors that nobody caught."""

import errno

import pytest

import labelgen.runs
from labelgen.engine import planning
from tests.helpers.cli import Shell


def test_a_disk_that_fails_is_one_line(monkeypatch, capsys):
    def open_run(run, dataroot):
        raise OSError(errno.EROFS, "Read-only file system", f"{run}/manifests")

    monkeypatch.setattr(labelgen.runs, "open_run", open_run)
    result = Shell(monkeypatch, capsys)("inspect", "somewhere")
    assert (result.code, result.err) == (2, "error: somewhere/manifests: Read-only file system\n")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_ctrl_c_while_planning_is_one_line(monkeypatch, capsys, command):
    def make_plan(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "make_plan", make_plan)
    result = Shell(monkeypatch, capsys)(command, "--dataset", "nuscenes", "--dataroot", "somewhere", "--json")
    said = "interrupted: no frame was begun; the same command begins anew\n"
    assert (result.code, result.out, result.err) == (130, "", said)


def test_commands_have_the_names_of_the_verbs_too(monkeypatch, capsys):
    shell = Shell(monkeypatch, capsys)
    helps = {name: shell(*name.split(), "--help").out.partition("\n")[2] for name in NAMES}
    assert helps["label"] == helps["run"]
    assert helps["check"] == helps["datasets check"]
    shown = shell("--help").out
    assert "  run " in shown
    assert "  check " in shown
    assert "\n  label " not in shown, "one name for newcomers"


NAMES = ("label", "run", "check", "datasets check")
