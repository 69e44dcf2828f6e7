"""The same command on a run that is finished: what is done anew, and what is not."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from labelgen.io import atomic
from tests.e2e.conftest import QUICK, arguments


def test_a_copied_data_root_is_done_and_what_changed_in_it_is_counted(shell, job, dataroot, tmp_path):
    assert shell("run", *job, *QUICK).code == 0
    copy = tmp_path / "copy"
    shutil.copytree(dataroot, copy, copy_function=shutil.copyfile)
    moved = arguments(copy, tmp_path / "run")
    assert shell("plan", *moved, "--json").json["todo"] == 0
    again = shell("run", *moved, *QUICK, "--json")
    assert (again.code, again.json["todo"]) == (0, 0)
    third = shell("run", *moved, *QUICK, "--json")
    assert "comparing files" in again.err
    assert "comparing files" not in third.err

    sweep = sorted((copy / "samples" / "LIDAR_TOP").iterdir())[0]
    content = bytearray(sweep.read_bytes())
    content[0] ^= 1
    sweep.write_bytes(content)
    plan = shell("plan", *moved, "--json")
    assert (plan.json["todo"], plan.json["changed"]) == (1, 1)
    told = "1 frame is labelled anew, as its sources changed since: LiDAR file (1, such as frame "
    assert told in plan.err
    assert sweep.name in plan.err
    result = shell("run", *moved, *QUICK, "--json")
    assert (result.code, result.json["labelled"]) == (0, 1)
    assert told in result.err
    assert shell("run", *moved, *QUICK, "--json").json["todo"] == 0


@pytest.fixture
def read_only(monkeypatch):
    """Called, it makes a read-only disk of all disks."""

    def refuse(path, *arguments, **options):
        if isinstance(path, Path) and path.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def spoil():
        monkeypatch.setattr(atomic, "_write_beside", refuse)
        for name in ("mkdir", "rename", "unlink"):
            monkeypatch.setattr(os, name, refuse)

    return spoil


def test_a_finished_run_that_cannot_be_written_is_a_success(shell, job, tmp_path, read_only):
    fused = [*job, "--runner", "sequential"]
    assert shell("run", *fused, "--no-report").code == 0
    revote = ("revote", tmp_path / "run", "--min-margin", 0.5)
    assert shell(*revote).code == 0
    read_only()
    done = shell("run", *fused, "--no-report", "--json")
    assert (done.code, done.json["todo"]) == (0, 0), done.err
    told = shell("run", *fused)
    assert told.code == 0, told.err
    assert "none can be written" in told.out + told.err
    assert shell(*revote).code == 0
    refused = shell(*revote, "--output", tmp_path / "another")
    assert refused.code == 2
    assert "cannot write" in refused.err


def test_nor_need_it_be_fused(shell, job, tmp_path, read_only):
    fused = [*job, "--runner", "sequential", "--no-report"]
    assert shell("run", *fused).code == 0
    shutil.rmtree(tmp_path / "run-fused")
    read_only()
    done = shell("run", *fused)
    assert done.code == 0, done.err
    assert "not fused over time: cannot write" in done.out


def test_an_unfinished_run_that_cannot_be_written_is_none(shell, job, read_only):
    assert shell("run", *job, *QUICK, "--frames", "0:1").code == 0
    read_only()
    result = shell("run", *job, *QUICK)
    assert result.code == 2
    assert "cannot write to" in result.err
    assert "Read-only file system" in result.err
