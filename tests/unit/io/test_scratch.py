"""Temporary folders are private and go with their block, or with the next call if the process was killed."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from labelgen.io.scratch import scratch, sweep

HOLD = """
import sys, time
from pathlib import Path
from labelgen.io.scratch import scratch
with scratch(Path(sys.argv[1]), "mine-") as folder:
    (folder / "data").mkdir()
    (folder / "data" / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has a folder below ``tmp_path``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()


def test_a_folder_is_private_and_goes_with_its_block(tmp_path):
    with scratch(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "a").write_text("x")
        sweep(tmp_path)
        assert (folder / "a").exists(), "its process is this one"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), scratch(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_call(holder, tmp_path):
    process, folder = holder
    with scratch(tmp_path, "mine-"):
        assert (folder / "data" / "file").exists(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    sweep(tmp_path, "other-")
    assert folder.exists()
    with scratch(tmp_path, "mine-") as new:
        assert sorted(tmp_path.iterdir()) == [new]


def test_the_folders_that_ray_may_take_are_swept_too(tmp_path, monkeypatch):
    with scratch(tmp_path) as folder:
        name = folder.name
    (tmp_path / name).mkdir()
    sweep()
    assert (tmp_path / name).exists()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    sweep()
    assert not (tmp_path / name).exists()


def test_what_is_not_ours_stays(tmp_path):
    with scratch(tmp_path) as folder:
        name = folder.name
    stranger, target = tmp_path / name[:-3], tmp_path / "target"
    target.mkdir()
    (target / "a").write_text("x")
    stranger.symlink_to(target)
    file = tmp_path / f"{name}-file"
    file.write_text("x")
    elsewhere = tmp_path / "labelgen-zzzz-12345678"  # another machine's
    elsewhere.mkdir()
    sweep(tmp_path)
    assert stranger.is_symlink()
    assert (target / "a").exists()
    assert file.exists()
    assert elsewhere.exists()


def test_many_at_once_take_nothing_from_each_other(tmp_path):
    wrong = []

    def work():
        for _ in range(20):
            with scratch(tmp_path) as folder:
                try:
                    (folder / "a").write_text("x")
                    assert os.listdir(folder) == ["a"]
                except Exception as error:
                    wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(tmp_path.iterdir()) == []
