"""A stub that searches a handful of resources, correctly unless a test bends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from tests.servers.stub import Reply, Request, Stub, outcome, searchset

Resource = dict[str, Any]


class FhirStub:
    """Answers `GET Type?patient=&code=&_id=&_count=` over resources in memory.

    `knows` are the search parameters that the server has; with `lenient` it leaves out others and says so in the self
    link, else it refuses them. `page` is the most it puts on a page.
    """

    def __init__(self, stub: Stub, resources: Iterable[Resource], *, page: int = 2, lenient: bool = False) -> None:
        self.stub = stub
        self.resources = list(resources)
        self.page = page
        self.lenient = lenient
        self.knows = {"patient", "code", "_id", "gender"}
        stub.on("/fhir/metadata", Reply(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"}))
        for kind in {r["resourceType"] for r in self.resources} | {
            "Patient",
            "Observation",
            "Procedure",
            "ImagingStudy",
        }:
            stub.on(f"/fhir/{kind}", self.search)

    def search(self, request: Request) -> Reply:
        kind = request.path.rpartition("/")[2]
        found = [r for r in self.resources if r["resourceType"] == kind]
        used = []
        offset = 0
        for name, value in request.query:
            if name == "_offset":
                offset = int(value)
            elif name == "_count":
                pass
            elif name not in self.knows:
                if not self.lenient:
                    return Reply(400, outcome("not-supported", f"unknown parameter {name}"))
            else:
                used.append((name, value))
                found = [r for r in found if self.matches(r, name, value.split(","))]
        here = found[offset : offset + self.page]
        following = offset + self.page
        return searchset(
            here,
            self_link=self.link(kind, used, offset),
            next_link=self.link(kind, used, following) if following < len(found) else None,
            total=len(found),
        )

    def link(self, kind: str, used: list[tuple[str, str]], offset: int) -> str:
        return f"{self.stub.base}/{kind}?{urlencode([*used, ('_offset', str(offset))])}"

    def matches(self, resource: Resource, name: str, values: list[str]) -> bool:
        if name == "_id":
            return resource["id"] in values
        if name == "patient":
            return resource.get("subject", {}).get("reference", "").removeprefix("Patient/") in values
        if name == "gender":
            return resource.get("gender") in values
        codings = resource.get("code", {}).get("coding", [])
        return any(f"{c.get('system')}|{c['code']}" in values or c["code"] in values for c in codings)
