"""A small HTTP server on loopback that answers as a test tells it to, and keeps every request."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    """One request as it came: `query` keeps the order and repeats of parameters."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    def value(self, name: str) -> str | None:
        return dict(self.query).get(name)


@dataclass
class Reply:
    """One answer. `cut` closes the connection after so many bytes of the body although more were announced; `trickle` are the seconds between
    two bytes.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    trickle: float | None = None

    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Answer = Reply | Callable[[Request], Reply]


class Stub:
    """Answers by method and path. Of several answers the first requests get the first ones; the last one stays."""

    def __init__(self, certificate: tuple[str, str] | None = None) -> None:
        self.requests: list[Request] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                stub._serve(self)

            do_GET = do_POST = do_DELETE = do_HEAD = answer

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.root = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self.base = f"{self.root}/fhir"

    def on(self, path: str, *answers: Answer, method: str = "GET") -> None:
        """What a path (below the root) answers."""
        self._answers[method, path] = list(answers)

    def seen(self, path: str, method: str = "GET") -> list[Request]:
        """The requests for a path."""
        return [r for r in self.requests if r.path == path and r.method == method]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        query = parse_qsl(parts.query, keep_blank_values=True)
        request = Request(handler.command, parts.path, query, headers, body)
        with self._lock:
            self.requests.append(request)
            answers = self._answers.get(
                (request.method, parts.path), [Reply(404, outcome("not-found", "no such thing"))]
            )
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        reply = answer if isinstance(answer, Reply) else answer(request)
        raw = reply.raw()
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if "Content-Type" not in reply.headers:
            handler.send_header("Content-Type", "application/fhir+json")
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        if reply.trickle is not None:
            trickled(handler, raw, reply.trickle)
            return
        handler.wfile.write(raw if reply.cut is None else raw[: reply.cut])
        if reply.cut is not None:
            handler.wfile.flush()
            handler.close_connection = True

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def trickled(handler: BaseHTTPRequestHandler, raw: bytes, seconds: float) -> None:
    """Send a body a byte at a time, until the client goes away."""
    try:
        for byte in raw:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(seconds)
    except OSError:
        handler.close_connection = True


@contextmanager
def running_stub(certificate: tuple[str, str] | None = None) -> Iterator[Stub]:
    """A stub that runs while the block does; over https with a certificate and its key."""
    stub = Stub(certificate)
    thread = threading.Thread(target=stub.run, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.stop()
        thread.join()


def outcome(code: str, text: str, severity: str = "error") -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue = {"severity": severity, "code": code, "diagnostics": text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def ndjson(*resources: dict[str, Any]) -> bytes:
    """Resources as lines."""
    return b"".join(json.dumps(resource).encode() + b"\n" for resource in resources)


def with_ranges(content: bytes, etag: str = '"v1"', first_cut: int | None = None) -> Callable[[Request], Reply]:
    """A file that can be had in parts: Range with If-Range; the first request breaks after `first_cut` bytes."""
    state = {"first": True}

    def answer(request: Request) -> Reply:
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        cut = first_cut if state["first"] else None
        state["first"] = False
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if found is None or request.headers.get("if-range") != etag:
            return Reply(200, content, headers, cut)
        start = int(found[1])
        if start >= len(content):
            return Reply(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Reply(206, content[start:], headers)

    return answer


class Export:
    """A stub's bulk export: kick-off, status and files, each to be replaced by a test."""

    STATUS = "/fhir/status/1"

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.requires_token = False
        self.sections: dict[str, list[dict[str, Any]]] = {"output": [], "deleted": [], "error": []}
        stub.on("/fhir/$export", Reply(202, headers={"Content-Location": f"{stub.root}{self.STATUS}"}))
        stub.on(self.STATUS, lambda request: self.complete())
        stub.on(self.STATUS, Reply(202), method="DELETE")

    def file(self, kind: str, path: str, *answers: Answer, count: int | None = None, section: str = "output") -> None:
        """Add a file to the manifest and say what its address answers."""
        item: dict[str, Any] = {"type": kind, "url": f"{self.stub.root}{path}"}
        if count is not None:
            item["count"] = count
        self.sections[section].append(item)
        self.stub.on(urlsplit(path).path, *answers)

    def complete(self) -> Reply:
        """The answer of the status address when the export is complete."""
        manifest = {
            "transactionTime": "2026-06-01T00:00:00Z",
            "request": f"{self.stub.base}/$export",
            "requiresAccessToken": self.requires_token,
            **self.sections,
        }
        return Reply(200, manifest, {"Content-Type": "application/json"})


def searchset(
    entries: list[dict[str, Any]], *, self_link: str, next_link: str | None = None, total: int | None = None
) -> Reply:
    """A page of a search."""
    links = [{"relation": "self", "url": self_link}]
    if next_link is not None:
        links.append({"relation": "next", "url": next_link})
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    if total is not None:
        bundle["total"] = total
    bundle["entry"] = [{"resource": resource, "search": {"mode": "match"}} for resource in entries]
    return Reply(200, bundle)
