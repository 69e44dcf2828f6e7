"""A process killed with SIGKILL in the middle of a run, then the same command again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import labelgen
from labelgen.datasets import plan_frames
from tests.e2e.conftest import arguments


def start(runner: str, dataroot: Path, run: Path) -> subprocess.Popen:
    """The whole job in one process; on Ray without models, as what is killed there is the engine."""
    if runner == "sequential":
        args = [*arguments(dataroot, run), "--set", "runtime.frames_per_shard=1", "--runner", runner]
        command = [sys.executable, "-m", "pipelines.pseudolabels", *args]
    else:
        overrides = ["runtime.runner=ray", "runtime.frames_per_shard=1"]
        request = {"dataroot": str(dataroot), "run": str(run), "overrides": overrides}
        request["faults"] = {"seconds": 0.3}
        command = [sys.executable, "-m", "tests.helpers.light_jobs", json.dumps(request)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def wait_for_manifests(run, count: int, process: subprocess.Popen, limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while len(list(run.glob("manifests/*.json"))) < count:
        assert process.poll() is None, f"ended before it could be killed: {process.communicate()[0].decode()}"
        assert time.monotonic() < end, "no shard was committed"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("runner", "manifests"),
    [("sequential", 1), ("sequential", 3), ("ray", 3)],
)
def test_kill_then_the_same_command_completes(dataroot, tmp_path, runner, manifests):
    run = tmp_path / "run"
    process = start(runner, dataroot, run)
    wait_for_manifests(run, manifests, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done_before = {path.name: path.read_bytes() for path in run.glob("manifests/*.json")}

    second = start(runner, dataroot, run)
    output = second.communicate(timeout=300)[0].decode()
    assert second.returncode == 0, output

    frames, _ = plan_frames("nuscenes", dataroot)
    opened = labelgen.open_run(run)
    assert sorted(opened.frames) == sorted(frame.frame_id for frame in frames)
    named = [frame.frame_id for manifest in opened.manifests for frame in manifest.frames]
    assert len(named) == len(set(named)), "a frame was labelled twice"
    for name, content in done_before.items():
        assert (run / "manifests" / name).read_bytes() == content, "what was committed is never written again"
    for frame_id in opened.frames:
        assert len(opened.frame(frame_id).labels) == 500
    assert not labelgen.shards.verify(run, deep=True)
