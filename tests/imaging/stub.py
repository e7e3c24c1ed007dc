"""An archive that answers as a test says: slowly, with 429 or 503, with broken bodies, elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """One answer. `cut` sends only so many bytes of the body before the connection is closed; `wait` blocks first."""

    status: int = 200
    body: bytes = b"[]"
    content_type: str = "application/dicom+json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    wait: threading.Event | None = None
    length: bool = True


Answerer = Callable[[Asked], Reply]


class Stub:
    """A server on a free port; `answer` may be set anew at any time. `asked` holds the requests."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, unquote(parts.path), parse_qs(parts.query), headers, body)
                stub.asked.append(asked)
                reply = stub.answer(asked)
                if reply.wait is not None:
                    reply.wait.wait(20)
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                if reply.length:
                    self.send_header("Content-Length", str(len(reply.body)))
                else:
                    self.send_header("Connection", "close")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
                if reply.cut is not None or not reply.length:
                    self.close_connection = True

            do_GET = do_POST = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                return  # a client that hung up is part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/dicom-web"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def rows(*found: dict[str, Any]) -> Reply:
    """DICOM JSON: keywords here are tags."""
    out = [
        {tag: {"vr": "UN", "Value": value if isinstance(value, list) else [value]} for tag, value in row.items()}
        for row in found
    ]
    return Reply(body=json.dumps(out).encode())
