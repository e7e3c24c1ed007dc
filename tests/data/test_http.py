"""The one HTTP client, as FHIR servers and archives see it: the same tries, redirects, limits, credentials and words for both."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure
from fhir_eligibility.data.http import answer as answer_module
from fhir_eligibility.data.http.address import ascii_host, origin, shown, within
from fhir_eligibility.data.http.client import Http, with_query
from fhir_eligibility.data.http.connection import Connection, Patience
from fhir_eligibility.data.http.failure import Fault, HttpFailure
from fhir_eligibility.data.server.client import Server, ServerError
from tests.servers.stub import Reply, Stub, running_stub

FAST = Patience(attempts=3, first=0.001, longest=60.0)
Ask = Callable[[str, str], bytes]


class Token:
    """A credential that is always the same."""

    def token(self, server: Server) -> str:
        return "secret"

    def renew(self, rejected: str) -> bool:
        return False


def by_server(base: str, path: str) -> bytes:
    """What a FHIR server answers."""
    with Server(base, credentials=Token(), patience=FAST, timeout=5.0) as server:
        return server.request("GET", f"{base}{path}").content


def by_archive(base: str, path: str) -> bytes:
    """What an archive answers."""
    with Client(
        Access(own=(base,), authorization="Bearer secret", retries=2, backoff=0.001, read_timeout=5.0)
    ) as client:
        return client.search(f"{base}{path}", "application/dicom+json")[1]


BOTH = pytest.mark.parametrize("ask", [by_server, by_archive])


def refused(ask: Ask, base: str, path: str) -> str:
    """The message of the failure."""
    with pytest.raises((ServerError, ArchiveFailure)) as caught:
        ask(base, path)
    return str(caught.value)


@BOTH
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(ask: Ask, status: int) -> None:
    with running_stub() as stub:
        stub.on("/fhir/x", Reply(status, headers={"Retry-After": "0"}), Reply(status), Reply(200, b"yes"))
        assert ask(stub.base, "/x") == b"yes"
        assert len(stub.requests) == 3


@BOTH
def test_a_wait_that_is_too_long_is_told(ask: Ask) -> None:
    with running_stub() as stub:
        stub.on("/fhir/x", Reply(503, headers={"Retry-After": "3600"}))
        words = "the server asks to come again in 3600 seconds"
        assert refused(ask, stub.base, "/x?patient=1") == f"{stub.base}/x?...: {words}"
        assert len(stub.requests) == 1


@BOTH
def test_an_answer_that_breaks_off_is_asked_for_again(ask: Ask) -> None:
    with running_stub() as stub:
        stub.on("/fhir/x", Reply(200, b"0123456789", cut=4), Reply(200, b"0123456789"))
        assert ask(stub.base, "/x") == b"0123456789"
        stub.on("/fhir/x", Reply(200, b"0123456789", cut=4))
        assert refused(ask, stub.base, "/x").startswith(f"{stub.base}/x: the connection broke (")
        assert len(stub.requests) == 2 + 3


@BOTH
def test_nobody_there(ask: Ask) -> None:
    with running_stub() as stub:
        gone = stub.base
    assert refused(ask, gone, "/x") == f"{gone}/x: no connection: Connection refused"


@BOTH
def test_redirects_in_a_circle_end(ask: Ask) -> None:
    with running_stub() as stub:
        stub.on("/fhir/x", Reply(302, headers={"Location": "/fhir/x?again"}))
        assert refused(ask, stub.base, "/x").endswith("redirected more than 5 times")
        assert len(stub.requests) == 6


@BOTH
def test_an_answer_that_is_too_large(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "LARGEST", 1 << 20)
    with running_stub() as stub:
        stub.on("/fhir/x", Reply(200, b"x" * (2 << 20)))
        assert refused(ask, stub.base, "/x") == f"{stub.base}/x: the answer is larger than 1 MiB; ask for less at once"
        assert len(stub.requests) == 1
        packed = Reply(200, gzip.compress(bytes(64 << 20)), {"Content-Encoding": "gzip"})
        stub.on("/fhir/x", packed)
        assert "the answer is larger than 1 MiB" in refused(ask, stub.base, "/x")


def authorizations(stub: Stub) -> list[str | None]:
    return [request.headers.get("authorization") for request in stub.requests]


@BOTH
def test_credentials_never_follow_to_another_origin(ask: Ask) -> None:
    with running_stub() as stub, running_stub() as other:
        stub.on("/fhir/x", Reply(307, headers={"Location": f"{other.root}/y"}))
        stub.on("/fhir/z", Reply(200, b"back"))
        other.on("/y", Reply(307, headers={"Location": f"{stub.base}/z"}))
        if ask is by_archive:
            words = f"redirected to another host ({other.root}/y); not followed"
            assert refused(ask, stub.base, "/x") == f"{stub.base}/x: {words}"
            assert other.requests == []
            return
        assert ask(stub.base, "/x") == b"back"
        assert authorizations(other) == [None]
        assert authorizations(stub) == ["Bearer secret", None]  # nor back from there


@pytest.mark.parametrize("place", ["ftp://host/x", "http://[bad/x", "file:///etc/passwd", "https:///x"])
@BOTH
def test_redirects_lead_to_addresses_alone(ask: Ask, place: str) -> None:
    with running_stub() as stub:
        stub.on("/fhir/x", Reply(302, headers={"Location": place}))
        assert "redirected to " in refused(ask, stub.base, "/x")


def test_what_was_sent_is_sent_again_only_where_it_was_not_taken() -> None:
    with running_stub() as stub, Server(stub.base, patience=FAST) as server:
        stub.on("/fhir/x", Reply(503), Reply(200, b"taken"), method="POST")
        assert server.request("POST", f"{stub.base}/x", content=b"one").content == b"taken"
        assert [request.body for request in stub.requests] == [b"one", b"one"]
        stub.on("/fhir/x", Reply(200, b"0123456789", cut=4), method="POST")
        with pytest.raises(ServerError, match="the connection broke"):
            server.request("POST", f"{stub.base}/x", content=b"two")
        assert len(stub.requests) == 3


def test_forms_and_queries() -> None:
    with running_stub() as stub, Server(stub.base, patience=FAST) as server:
        stub.on("/fhir/x", Reply(200), method="POST")
        server.request("POST", f"{stub.base}/x?a=1", parameters=[("b", "x y&z")], form={"c": "d e"})
        (request,) = stub.requests
        assert request.body == b"c=d+e" and request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert request.query == [("a", "1"), ("b", "x y&z")]
    assert with_query("https://h/x", [("code", "http://s|c,d"), ("name", "ü+")]) == (
        "https://h/x?code=http%3A%2F%2Fs%7Cc%2Cd&name=%C3%BC%2B"
    )


def test_work_that_is_given_up() -> None:
    http = Http(Connection())
    http.stopping.set()
    with pytest.raises(HttpFailure) as caught:
        http.request("GET", "https://host.example/x", headers={}, patience=FAST)
    assert caught.value.fault is Fault.STOPPED and http.requests == 0
    http.close()


def test_addresses_in_other_letters_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_stub() as proxy:
        monkeypatch.setenv("http_proxy", proxy.root)
        http = Http(Connection())
        http.request("GET", "http://bücher.example/ü", headers={}, patience=FAST)
        http.close()
        assert proxy.requests[0].headers["host"] == "xn--bcher-kva.example"
        with pytest.raises(HttpFailure, match="this is not an address of the form") as caught:
            Http(Connection()).request("GET", f"http://{'ü' * 80}.example/", headers={}, patience=FAST)
        assert caught.value.fault is Fault.ADDRESS


def test_an_unknown_kind_of_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks9://127.0.0.1:1")
    http = Http(Connection())
    with pytest.raises(HttpFailure, match="the proxy of the environment is of an unknown kind"):
        http.request("GET", "http://host.example/x", headers={}, patience=Patience(attempts=1))
    http.close()


def test_addresses() -> None:
    assert origin("HTTPS://Host.Example/x") == ("https", "host.example", 443)
    assert shown("http://[bad") == "(no address)"
    assert within("https://a.example/r4/Patient/1", "https://a.example/r4/")
    assert not within("https://a.example/r4x", "https://a.example/r4")
    assert ascii_host("https://bücher.example:8443/r4/ü?a=ü") == "https://xn--bcher-kva.example:8443/r4/ü?a=ü"
    assert ascii_host("https://host.example/x") == "https://host.example/x"
    for wrong in ("host/x", "ftp://host/x", "https://", ""):
        with pytest.raises(ValueError):
            origin(wrong)
