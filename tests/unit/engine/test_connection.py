"""Addresses that lead to no Ray are found out before Ray is asked; a Ray of our own is nobody else's."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ray._private import utils as ray_utils

from labelgen.core.errors import UserError
from labelgen.engine.drain import Stop, draining
from labelgen.engine.ray import connection
from labelgen.engine.ray.connection import connect, guard_token
from labelgen.io.scratch import sweep


@pytest.fixture
def listener():
    """Starts something that listens, answers with given bytes, and hangs up; gives its address."""
    servers = []

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(answer)
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_what_is_no_ray_is_told_apart(listener, answer, scheme):
    address = scheme + listener(answer)
    with pytest.raises(UserError, match="not Ray; Ray's port is 6379") as caught:
        connect(address)
    assert address in str(caught.value)


def test_the_address_of_the_dashboard_is_recognised():
    with pytest.raises(UserError, match="dashboard's address"):
        connect("http://127.0.0.1:8265")


def test_a_port_where_nobody_listens_and_a_host_that_is_none():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=r"refused.*check RAY_ADDRESS"):
        connect(f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"no-such-host\.invalid"):
        connect("no-such-host.invalid:6379")


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_file_of_the_token_is_for_its_user_alone(home):
    guard_token()
    file = home / ".ray" / "auth_token"
    token = file.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)  # as Ray makes it
    guard_token()
    assert file.read_text() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("name", "value"), [("RAY_AUTH_TOKEN", "0" * 64), ("RAY_AUTH_MODE", "disabled")])
def test_no_token_is_made_where_none_is_read(home, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    guard_token()
    assert list(home.iterdir()) == []


#: Starts a Ray, says where its processes listen, and waits to be killed.
DRIVER = """
import json, os, ray, time
from pathlib import Path
from labelgen.engine.ray.connection import connected

def family(pid):
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    todo = [pid]
    for one in todo:
        todo += children.get(one, [])
    return todo

def listening():
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table]
    addresses = {f"socket:[{row[9]}]": row[1].partition(":")[0] for row in rows if row[3] == "0A"}
    for pid in family(os.getpid()):
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                yield addresses[os.readlink(file)]
            except (OSError, KeyError):
                pass

with connected(None):
    ray.get(ray.remote(num_cpus=1)(lambda: 1).remote())
    session = ray._private.worker._global_node.get_session_dir_path()
    print(json.dumps({"session": session, "listening": list(listening())}), flush=True)
    time.sleep(600)
"""


def test_a_local_ray_listens_to_this_machine_alone_and_leaves_nothing_behind(home):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        #: 127.0.0.1, and the same in IPv6, as the kernel writes them
        assert len(told["listening"]) > 5
        assert set(told["listening"]) <= {"0100007F", "0000000000000000FFFF00000100007F"}
        folder = Path(told["session"]).parent.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode) == 0o600
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.exists()
    sweep()
    assert not folder.exists()


@pytest.mark.parametrize("when", ["while it connects", "then"])
@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
def test_sigterm_stays_whose_it_was(monkeypatch, address, when):
    """As `ray.init` does: it lets SIGTERM end the process, whatever was to be done then."""
    monkeypatch.setattr(connection, "_prepare", lambda: None)
    monkeypatch.setattr(connection, "_knock", lambda address: None)
    monkeypatch.setattr(connection, "guard_token", lambda: None)
    monkeypatch.setattr(connection, "_set_up_data", lambda: None)
    monkeypatch.setattr(connection.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connection.ray, "shutdown", lambda: None)

    def init(**_):
        ray_utils.set_sigterm_handler(lambda *_: sys.exit(1))
        if when != "then":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(connection.ray, "init", init)
    stop = Stop()
    with draining(stop), connection.connected(address):
        if when == "then":
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
    assert stop.signal == signal.SIGTERM
