"""An object store that does not answer, or not to the end, stops the command in time and with one line."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from labelgen.core.errors import UserError
from labelgen.io import clients
from labelgen.io.place import open_store
from labelgen.io.store import StoreError
from tests.helpers.cli import Shell

pytestmark = pytest.mark.timeout(120)

HEAD = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "a"\r\nContent-Type: text/plain\r\n'
    b"Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n"
)


def silent(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    ended.wait()


def dripping(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    for number in range(10**6):
        connection.sendall(HEAD[number : number + 1] or b"x")
        if ended.wait(0.2):
            return


def dripping_body(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(HEAD)
    while not ended.wait(0.2):
        connection.sendall(b"x")


def resetting(connection: socket.socket, ended: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Serve = Callable[[socket.socket, threading.Event], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Serve], None]]:
    """Starts a server that behaves in some way, and tells clients where it is."""
    ended = threading.Event()
    servers = []

    def start(how: Serve) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):  # the client has hung up
                how(connection, ended)

        def loop() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_REGION": "us-east-1",
        clients.TIMEOUT: "1.5",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(clients.RETRY, "first_wait_s", 0.01)
    monkeypatch.setitem(clients.RETRY, "longest_wait_s", 0.05)
    yield start
    ended.set()
    for server in servers:
        server.close()


@pytest.mark.parametrize("how", [silent, dripping, dripping_body, resetting])
def test_the_command_ends_in_one_line(
    how: Serve,
    serve: Callable[[Serve], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve(how)
    found = Shell(monkeypatch, capsys)("inspect", "s3://bucket/run")
    assert found.code == 2
    (line,) = found.err.strip().splitlines()
    assert "run.json" in line
    if how in (silent, dripping):
        assert "no answer in time; a request may take 1.5 s (LABELGEN_STORE_TIMEOUT)" in line
    assert "EXAMPLE" not in line


def test_nothing_is_asked_again_of_a_store_that_does_not_answer(
    serve: Callable[[Serve], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by those either who try file operations again, nor for the other files of a list."""
    from labelgen.io.retry import is_transient

    serve(silent)
    store = open_store("s3://bucket/run")
    with pytest.raises(StoreError) as caught:
        store.read_all([f"manifests/{number:016x}.json" for number in range(100)])
    assert not is_transient(caught.value)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "1e9"])
def test_a_limit_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clients.TIMEOUT, text)
    with pytest.raises(UserError, match=f"{clients.TIMEOUT}={text}: expected seconds"):
        clients.time_limit()
