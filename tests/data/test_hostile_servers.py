"""FHIR servers that answer out of shape, without end, or with more than anyone can hold: an error in words, within limits."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.http import answer as answer_module
from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.server import download as download_module
from fhir_eligibility.data.server import search as search_module
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.download import count_lines
from fhir_eligibility.data.server.export import poll
from fhir_eligibility.data.server.search import search
from tests.servers.stub import Reply, Request, Stub, running_stub

QUICK = Patience(attempts=2, first=0.001, most=0.001)
ODD: tuple[Any, ...] = ("x", 5, ["x"], {"a": 1}, True, [5], [None], [[]], [{"url": 5, "type": []}])


def polled(stub: Stub, manifest: Any) -> Any:
    stub.on("/status", Reply(200, manifest))
    with Server(stub.base, patience=QUICK) as server:
        return poll(server, f"{stub.root}/status", on_progress=lambda said, delay: None)


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("name", ["output", "deleted", "error", "link", "requiresAccessToken", "transactionTime"])
def test_manifests_out_of_shape(name: str, odd: Any) -> None:
    good = {"transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": False, "output": []}
    with running_stub() as stub:
        try:
            found = polled(stub, {**good, name: odd})
        except ServerError as error:
            assert "manifest of the export" in str(error)
        else:
            assert found.files == ()


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("name", ["link", "entry", "total", "search", "resource", "fullUrl"])
def test_search_answers_out_of_shape(name: str, odd: Any) -> None:
    entry: dict[str, Any] = {"resource": {"resourceType": "Condition", "id": "c"}, "search": {"mode": "match"}}
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "entry": [entry]}
    (entry if name in ("search", "resource", "fullUrl") else bundle)[name] = odd
    with running_stub() as stub:
        stub.on("/fhir/Condition", Reply(200, bundle))
        with Server(stub.base, patience=QUICK) as server:
            try:
                pages = list(search(server, "Condition", []))
            except ServerError as error:
                assert "Condition" in str(error)
            else:
                assert [item.resource["id"] for page in pages for item in page] == ["c"]


def test_an_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "LARGEST", 1 << 20)
    packed = gzip.compress(b" " * (8 << 20))
    assert len(packed) < 1 << 17
    with running_stub() as stub:
        stub.on("/fhir/metadata", Reply(200, packed, {"Content-Encoding": "gzip"}))
        with Server(stub.base, patience=QUICK) as server:
            with pytest.raises(ServerError, match="larger than 1 MiB"):
                server.fhir_version()


def test_a_packed_answer_is_unpacked_once() -> None:
    body = b'{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1"}'
    with running_stub() as stub:
        stub.on("/fhir/metadata", Reply(200, gzip.compress(body), {"Content-Encoding": "gzip"}))
        with Server(stub.base, patience=QUICK) as server:
            assert server.fhir_version() == "4.0.1"


def test_an_answer_that_trickles() -> None:
    patience = Patience(attempts=1, answer=0.3)

    with running_stub() as stub:
        stub.on("/fhir/metadata", Reply(200, b"{" + b" " * 400, trickle=0.02))
        began = time.monotonic()
        with Server(stub.base, patience=patience) as server:
            with pytest.raises(ServerError, match="did not end within 0 seconds"):
                server.fhir_version()
        assert time.monotonic() - began < 5


def test_pages_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "LARGEST_SEARCH", 1 << 16)

    def page(request: Request) -> Reply:
        number = int(request.value("page") or 0)
        resources = [
            {"resource": {"resourceType": "Condition", "id": f"{number}-{i}", "note": "x" * 400}} for i in range(20)
        ]
        following = [{"relation": "next", "url": f"{stub.base}/Condition?page={number + 1}"}]
        return Reply(200, {"resourceType": "Bundle", "entry": resources, "link": following})

    with running_stub() as stub:
        stub.on("/fhir/Condition", page)
        with Server(stub.base, patience=QUICK) as server:
            with pytest.raises(ServerError, match="use an export instead"):
                list(search(server, "Condition", []))


@pytest.mark.parametrize("after", ["99999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "²"])
def test_a_server_that_asks_to_wait_for_ever(after: str) -> None:
    waits: list[float] = []
    with running_stub() as stub:
        whole = {"transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": False, "output": []}
        stub.on("/status", Reply(202, b"", {"Retry-After": after.encode().decode("latin-1")}), Reply(200, whole))
        with Server(stub.base, patience=QUICK, wait=waits.append) as server:
            poll(server, f"{stub.root}/status", on_progress=lambda said, delay: None)
    assert len(waits) == 1 and 0 < waits[0] <= QUICK.longest
    with running_stub() as stub:
        stub.on("/fhir/metadata", Reply(429, b"", {"Retry-After": after.encode().decode("latin-1")}))
        with Server(stub.base, patience=QUICK, wait=waits.append) as server:
            with pytest.raises(ServerError, match="come again in|answered 429"):
                server.fhir_version()


def test_a_line_that_no_resource_fills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download_module, "LONGEST_LINE", 1 << 16)
    path = tmp_path / "Condition.001.part"
    path.write_bytes(gzip.compress(b'{"a":"' + b"x" * (1 << 20)))
    with pytest.raises(ServerError, match="a line is longer"):
        count_lines(path, True)
    path.write_bytes(gzip.compress(b'{"a":1}\n\n{"a":2}\n'))
    assert count_lines(path, True) == (2, b'{"a":2}\n')
