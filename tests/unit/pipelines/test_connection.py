"""Addresses that lead to no Ray are found out before Ray is asked."""

import socket
import threading

import pytest

from labelgen.errors import UserError
from pipelines.connection import connect


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
    with pytest.raises(UserError, match="no Ray; its port is 6379") as caught:
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
