"""A cluster of several nodes on one machine, as `make cluster-up` starts it: a run, and what is unfit."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import arguments

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "cluster/local/cluster.sh"
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address and environment of a head and two nodes, with a token of their own."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] % 20_000 + 20_000
    environment = {**os.environ, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("RAY_ADDRESS", None)
    folder = home / "cluster"
    up = [SCRIPT, "up", folder, str(port), "2", "1"]
    try:
        done = subprocess.run(up, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip().splitlines()[-1] == f"RAY_ADDRESS=127.0.0.1:{port}"
        yield f"127.0.0.1:{port}", environment
    finally:
        subprocess.run([SCRIPT, "down", folder], env=environment, check=False)
        assert not list(folder.glob("*.pid"))


def labelgen(cluster, *args, cwd=ROOT, home=None):
    address, environment = cluster
    environment = environment | ({"HOME": str(home)} if home else {})
    command = [BIN / "labelgen", *map(str, args), "--ray-address", address, "--json"]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def faults(done):
    assert done.returncode == 1, done.stderr
    return [finding for finding in json.loads(done.stdout)["findings"] if finding["ok"] is False]


def test_a_run_uses_all_nodes_and_records_them(cluster, dataroot, tmp_path):
    job = arguments(dataroot, tmp_path / "run")
    done = labelgen(cluster, "run", *job, "--no-report")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["labelled"], result["failed"]) == (6, 0)
    assert (result["figures"]["cores"], result["figures"]["gpus"]) == (2, 0)
    leftovers = [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".doctor")]
    assert leftovers == []


def test_a_probe_on_a_worker(cluster, dataroot, tmp_path):
    done = labelgen(cluster, "plan", *arguments(dataroot, tmp_path / "run"), "--probe", 1)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["probe"]["frames"] == 1


def test_nodes_without_weights_are_named(cluster, dataroot, tmp_path):
    """A relative path leads to a checkpoint from the driver's folder, and from the nodes' one to nothing."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.pt").write_bytes(b"1234")
    job = arguments(dataroot, tmp_path / "run")
    override = ("--set", "semantics.checkpoint=weights/mine.pt", "--set", "semantics.model=ViT-B-32")
    found = faults(labelgen(cluster, "doctor", *job, *override, cwd=tmp_path))
    nodes = {finding["where"] for finding in found if "mine.pt" in finding["detail"]}
    assert len(nodes - {"driver"}) == 3


def test_an_output_that_one_node_does_not_see(cluster, dataroot, tmp_path):
    """A fourth node with a file system of its own over the output's folder."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    apart = ["unshare", "--mount", "bash", "-c"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("this user may not make mount name spaces")
    address, environment = cluster
    start = f"ray start --block --num-cpus=1 --address={address}"
    # Ray gives a node thirty seconds to start, which a busy machine may not.
    mounted = f"mount -t tmpfs none {hidden} && ({start} || {start} || {start})"
    more = {"RAY_AUTH_MODE": "token"}
    log = (tmp_path / "log").open("w")
    node = subprocess.Popen(
        [*apart, mounted], env=environment | more, stdout=log, stderr=log, start_new_session=True
    )
    try:
        done = labelgen(cluster, "doctor", *arguments(dataroot, hidden / "run"), "--nodes", 4)
        (fault,) = faults(done)
        assert fault["check"] == "output"
        assert "does not see" in fault["detail"]
        # The main job finds it, too, before it does anything.
        done = labelgen(cluster, "run", *arguments(dataroot, hidden / "run"))
        assert done.returncode == 2
        assert "does not see" in done.stderr.strip().splitlines()[-1]
        assert not (hidden / "run").exists()
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait(timeout=60)


def test_a_driver_without_the_token_is_told_so_at_once(cluster, dataroot, tmp_path):
    done = labelgen(cluster, "run", *arguments(dataroot, tmp_path / "run"), home=tmp_path)
    assert done.returncode == 2
    assert "token" in done.stderr.strip().splitlines()[-1]
