"""A stub that answers `ValueSet/$expand` from a table, in pages, and behaves as it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.servers.stub import Reply, Request, Stub, outcome, running_stub

PATH = "/fhir/ValueSet/$expand"
Query = dict[str, list[str]]


@dataclass
class TerminologyStub:
    """What the server knows and how it behaves: `failures` are given first, `page` is the size of a page (None: everything at once)."""

    stub: Stub
    value_sets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[Reply] = field(default_factory=list)
    page: int | None = None
    total: bool = True
    repeat: bool = False
    credential: str | None = None

    def __post_init__(self) -> None:
        self.base = self.stub.base
        self.stub.on(PATH, self.answer)

    @property
    def asked(self) -> list[Query]:
        """The queries that came, with all values of each parameter."""
        found: list[Query] = []
        for request in self.stub.seen(PATH):
            query: Query = {}
            for name, value in request.query:
                query.setdefault(name, []).append(value)
            found.append(query)
        return found

    @property
    def credentials(self) -> list[str | None]:
        """The Authorization headers that came."""
        return [request.headers.get("authorization") for request in self.stub.seen(PATH)]

    def add(
        self, url: str, codes: list[str], version: str | None = None, system: str = "http://example.org/cs"
    ) -> None:
        """A value set in one version."""
        found = {"resourceType": "ValueSet", "url": url, "status": "active", "version": version}
        contains = [{"system": system, "code": code} for code in codes]
        self.value_sets.setdefault(url, []).append({**found, "expansion": {"contains": contains}})

    def answer(self, request: Request) -> Reply:
        """The answer to one request."""
        if self.failures:
            return self.failures.pop(0)
        if self.credential is not None and request.headers.get("authorization") != self.credential:
            return Reply(401)
        wanted, url = request.value("valueSetVersion"), request.value("url")
        given = [x for x in self.value_sets.get(url or "", []) if wanted in (None, x["version"])]
        if not given:
            return Reply(404, outcome("not-found", "no such value set"))
        found = given[-1]
        if self.page is None:
            return Reply(200, found)
        contains = found["expansion"]["contains"]
        offset = 0 if self.repeat else int(request.value("offset") or 0)
        expansion: dict[str, Any] = {"offset": offset, "contains": contains[offset : offset + self.page]}
        if self.total:
            expansion["total"] = len(contains)
        return Reply(200, {**found, "expansion": expansion})


@contextmanager
def running_terminology() -> Iterator[TerminologyStub]:
    """A terminology stub that runs while the block does."""
    with running_stub() as stub:
        yield TerminologyStub(stub)
