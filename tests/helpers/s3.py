"""A real S3 server in this process (moto's), which can be told to fail; it takes Google's requests, too."""

from __future__ import annotations

import socket
import threading
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

#: What a request gets: None, a status to answer instead of doing it, or
#: "lost": it is done and the connection breaks before the reply,
#: "lost 500": it is done and the reply is a 500.
Fault = Callable[[str, str], str | None]


class S3Server:
    """``url`` is an empty bucket; ``environment`` is what clients need.

    Attributes:
        fault: called with method and path of each request.
        given: how often each fault was given.
    """

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.given: Counter[str] = Counter()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": self.endpoint,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self, scheme: str = "s3") -> str:
        """The address of a new, empty bucket; no other server of this process has one of that name.

        moto keeps one set of buckets for all servers of a process.
        """
        name = f"bucket-{uuid.uuid4().hex}"
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")).read()
        return f"{scheme}://{name}"

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()

    def _serve(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):
            _in_words_of_s3(environ)
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        fault = self.fault(method, path) if self.fault else None
        if fault is None:
            return self._app(environ, start)
        self.given[fault] += 1
        if fault.startswith("lost"):
            b"".join(self._app(environ, lambda *arguments: None))
            if fault == "lost":
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                return [b""]
            fault = "500"
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(f"{fault} Fault", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"fault"]


def _in_words_of_s3(environ: dict[str, Any]) -> None:
    """Google's XML interface is that of S3, but for the headers of authorisation and of conditions."""
    scope = "testing/20240101/us-east-1/s3/aws4_request"
    environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
        environ["HTTP_IF_NONE_MATCH"] = "*"
    query = environ.get("QUERY_STRING")
    environ["REQUEST_URI"] = environ["RAW_URI"] = environ["PATH_INFO"] + (f"?{query}" if query else "")
