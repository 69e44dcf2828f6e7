"""A process killed with SIGKILL in the middle of a run, then the same command again."""

import os
import signal
import subprocess
import sys
import time

import pytest

import labelgen
from labelgen.datasets import plan_frames
from tests.e2e.conftest import arguments


def start(args: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipelines.pseudolabels", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def wait_for_manifests(run, count: int, process: subprocess.Popen, limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while len(list(run.glob("manifests/*.json"))) < count:
        assert process.poll() is None, f"ended before it could be killed: {process.communicate()[0].decode()}"
        assert time.monotonic() < end, "no shard was committed"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("runner", "manifests"),
    [("sequential", 1), ("sequential", 3), ("ray", 1), ("ray", 4)],
)
def test_kill_then_the_same_command_completes(dataroot, tmp_path, runner, manifests):
    run = tmp_path / "run"
    args = [*arguments(dataroot, run), "--set", "runtime.frames_per_shard=1", "--runner", runner]
    process = start(args)
    wait_for_manifests(run, manifests, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done_before = {path.name: path.read_bytes() for path in run.glob("manifests/*.json")}

    second = start(args)
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
