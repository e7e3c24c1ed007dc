"""A terminology server on loopback for tests: answers `ValueSet/$expand` from a table, in pages, and fails as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Query = dict[str, list[str]]


@dataclass
class Failure:
    """One answer that is given in place of the right one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    text: str | None = None


@dataclass
class Stub:
    """What the server knows and how it behaves. `asked` are the queries it got, `credentials` the Authorization headers."""

    value_sets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    page: int | None = None
    total: bool = True
    repeat: bool = False
    credential: str | None = None
    asked: list[Query] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)
    base: str = ""

    def add(
        self, url: str, codes: list[str], version: str | None = None, system: str = "http://example.org/cs"
    ) -> None:
        """A value set in one version."""
        found = {"resourceType": "ValueSet", "url": url, "status": "active", "version": version}
        contains = [{"system": system, "code": code} for code in codes]
        self.value_sets.setdefault(url, []).append({**found, "expansion": {"contains": contains}})

    def answer(self, path: str, query: Query, credential: str | None) -> Failure:
        """The answer to one request."""
        self.asked.append(query)
        self.credentials.append(credential)
        if self.failures:
            return self.failures.pop(0)
        if self.credential is not None and credential != self.credential:
            return Failure(401)
        if not path.endswith("/ValueSet/$expand"):
            return Failure(404)
        wanted = query.get("valueSetVersion", [None])[0]
        given = [x for x in self.value_sets.get(query["url"][0], []) if wanted in (None, x["version"])]
        if not given:
            return Failure(404, body=outcome("not-found", "no such value set"))
        found = given[-1]
        contains = found["expansion"]["contains"]
        if self.page is None:
            return Failure(200, body=found)
        offset = 0 if self.repeat else int(query["offset"][0])
        expansion: dict[str, Any] = {"offset": offset, "contains": contains[offset : offset + self.page]}
        if self.total:
            expansion["total"] = len(contains)
        return Failure(200, body={**found, "expansion": expansion})


def outcome(code: str, text: str) -> dict[str, Any]:
    """An OperationOutcome."""
    issue = {"severity": "error", "code": code, "details": {"text": text}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """The stub on a free port of the loopback interface; `base` is then its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = stub.answer(parts.path, parse_qs(parts.query), self.headers.get("Authorization"))
            raw = (found.text if found.text is not None else json.dumps(found.body)).encode()
            self.send_response(found.status)
            for name, value in {"Content-Type": "application/fhir+json", **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    stub.base = f"http://127.0.0.1:{server.server_port}/fhir"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
