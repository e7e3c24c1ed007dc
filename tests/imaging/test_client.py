"""The connection: retries, redirects, proxies, certificates, timeouts, and where credentials go."""

from __future__ import annotations

import logging
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.address import archive_address
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.presence import Need, Presence, StudyPresence
from fhir_eligibility.data.archives.qido import find_instances, find_studies, rows_of
from fhir_eligibility.data.http.address import shown, within
from fhir_eligibility.data.http.credentials import basic, bearer
from tests.imaging.stub import Answerer, Asked, Reply, Stub, rows

MakeStub = Callable[[Answerer], Stub]
FAST = {"backoff": 0.001}


def failure_of(url: str, access: Access) -> ArchiveFailure:
    with Client(access) as client, pytest.raises(ArchiveFailure) as caught:
        rows_of(client, url)
    return caught.value


def in_turn(*replies: Reply) -> Answerer:
    waiting = list(replies)
    return lambda asked: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, FailureCause.REQUEST_REFUSED),
        (401, FailureCause.UNAUTHORIZED),
        (403, FailureCause.FORBIDDEN),
        (404, FailureCause.NOT_FOUND),
        (406, FailureCause.NOT_ACCEPTABLE),
        (429, FailureCause.BUSY),
        (500, FailureCause.SERVER_ERROR),
        (503, FailureCause.BUSY),
        (504, FailureCause.TIMEOUT),
    ],
)
def test_statuses(status: int, cause: FailureCause, stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(status, b"no"))
    found = failure_of(f"{archive.url}/studies?PatientName=secret", Access(retries=0))
    assert (found.cause, found.status) == (cause, status)
    assert found.message == f"{archive.url}/studies?...: HTTP {status}"


@pytest.mark.parametrize("status", [429, 503])
def test_retries_heed_retry_after(status: int, stub: MakeStub) -> None:
    archive = stub(in_turn(Reply(status, headers={"Retry-After": "0"}), Reply(status), Reply(body=b"[{}]")))
    with Client(Access(**FAST)) as client:
        assert rows_of(client, f"{archive.url}/studies") == [{}]
    assert len(archive.asked) == 3


def test_a_wait_that_is_too_long_is_not_waited_for(stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(503, headers={"Retry-After": "3600"}))
    found = failure_of(f"{archive.url}/studies", Access(**FAST))
    assert (found.cause, len(archive.asked)) == (FailureCause.BUSY, 1)


def test_slow_answers(stub: MakeStub) -> None:
    never = threading.Event()
    archive = stub(lambda asked: Reply(wait=never))
    found = failure_of(f"{archive.url}/studies", Access(read_timeout=0.1, retries=1, **FAST))
    assert (found.cause, len(archive.asked)) == (FailureCause.TIMEOUT, 2)
    never.set()


def test_no_connection(stub: MakeStub) -> None:
    assert failure_of("http://127.0.0.1:1/rs/studies", Access(retries=0)).cause is FailureCause.CONNECTION
    assert failure_of("http://no-such-host.invalid/rs/studies", Access(retries=0)).cause is FailureCause.CONNECTION
    cut = stub(lambda asked: Reply(body=b"[{}, {}]", cut=4))
    assert failure_of(f"{cut.url}/studies", Access(retries=0)).cause is FailureCause.CONNECTION


@pytest.mark.parametrize(
    "base",
    [
        "not an address",
        "ftp://a.example/rs",
        "http://a.example:99999/rs",
        "http://[::1/rs",
        "https:///rs",
        "http://a b/rs",
    ],
)
def test_what_the_data_calls_an_address_and_is_none(base: str) -> None:
    with Client(Access(own=("https://a.example/rs",), authorization=bearer("t"), retries=0)) as client:
        (found,) = Presence(client).ask(base, [Need("1.2")]).values()
    assert isinstance(found, ArchiveFailure) and found.cause in (FailureCause.REQUEST_REFUSED, FailureCause.CONNECTION)
    assert client.requests <= 1


def test_an_archive_that_is_down_is_not_tried_again_and_again() -> None:
    with Client(Access(retries=2, **FAST)) as client:
        for _ in range(5):
            with pytest.raises(ArchiveFailure):
                rows_of(client, "http://127.0.0.1:1/rs/studies")
        assert client.requests == 3 * 3 + 2


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[1]", b"[\xff]"])
def test_what_is_no_answer(body: bytes, stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(body=body))
    assert failure_of(f"{archive.url}/studies", Access(retries=0)).cause is FailureCause.MALFORMED_ANSWER


def test_no_content(stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(204, b""))
    with Client(Access()) as client:
        assert find_studies(client, archive.url, ["1.2"]) == {}


def test_redirects_within_a_host_and_not_beyond(stub: MakeStub) -> None:
    other = stub(lambda asked: Reply())

    def answer(asked: Asked) -> Reply:
        if asked.path == "/dicom-web/studies":
            return Reply(302, b"", headers={"Location": "/rs/studies"})
        if asked.path == "/dicom-web/away":
            return Reply(307, b"", headers={"Location": f"{other.url}/studies"})
        if asked.path == "/dicom-web/round":
            return Reply(301, b"", headers={"Location": "/dicom-web/round"})
        return Reply(body=b"[{}]")

    archive = stub(answer)
    access = Access(own=(archive.url,), authorization=bearer("abc"), retries=0)
    with Client(access) as client:
        assert rows_of(client, f"{archive.url}/studies") == [{}]
    assert [asked.headers.get("authorization") for asked in archive.asked] == ["Bearer abc", None]
    assert failure_of(f"{archive.url}/away", access).cause is FailureCause.REDIRECTED
    assert failure_of(f"{archive.url}/round", access).cause is FailureCause.REDIRECTED
    assert other.asked == []


def test_bearer_and_basic(stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply())
    for access in (
        Access(own=(archive.url,), authorization=bearer("t")),
        Access(own=(archive.url,), authorization=basic("jos\u00e9", "p:w")),
        Access(own=("https://elsewhere.example/rs",), authorization=bearer("t")),
    ):
        with Client(access) as client:
            rows_of(client, f"{archive.url}/studies")
        assert "p:w" not in repr(access) and "Bearer" not in repr(access) and "Basic" not in repr(access)
    assert [asked.headers.get("authorization") for asked in archive.asked] == ["Bearer t", "Basic am9zw6k6cDp3", None]


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("https://a.example/rs/studies", True),
        ("https://A.example:443/rs", True),
        ("https://a.example/rs2/studies", False),
        ("http://a.example/rs/studies", False),
        ("https://a.example:8443/rs/studies", False),
        ("https://a.example.evil.example/rs", False),
        ("https://a.example/rs/../admin", False),
        ("https://a.example/rs/%2e%2e/admin", False),
        ("https://a.example@evil.example/rs/studies", False),
    ],
)
def test_to_whom_credentials_go(url: str, inside: bool) -> None:
    assert within(url, "https://a.example/rs") is inside


def test_credentials_do_not_go_over_plain_http() -> None:
    with pytest.raises(ValueError, match="without encryption"):
        Access(own=("https://a.example/rs", "http://b.example/rs"), authorization=bearer("t"))
    assert Access(own=("http://b.example/rs",), authorization=bearer("t"), allow_http=True).header(
        "http://b.example/rs/studies"
    )
    for local in ("http://localhost:8042/rs", "http://127.0.0.1/rs", "http://[::1]/rs"):
        assert Access(own=(local,), authorization=bearer("t")).header(f"{local}/studies") == "Bearer t"


def test_addresses() -> None:
    for written in ("", "/", "//", "/studies", "/studies/", "/studies/1.2.3", "/studies/{study}", "/instances"):
        assert archive_address(f"https://a.example/rs{written}") == "https://a.example/rs"
    assert archive_address("https://a.example/studies") == "https://a.example"
    for wrong in ("a.example/rs", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example?x=1"):
        with pytest.raises(ValueError):
            archive_address(wrong)
    assert shown("https://u:p@a.example/rs?token=1#x") == "https://a.example/rs?..."


def test_nothing_secret_is_logged(stub: MakeStub, caplog: pytest.LogCaptureFixture) -> None:
    archive = stub(in_turn(Reply(503, headers={"Retry-After": "0"}), Reply(401)))
    caplog.set_level(logging.DEBUG)
    found = failure_of(
        f"{archive.url}/studies", Access(own=(archive.url,), authorization=basic("u", "hidden-word"), **FAST)
    )
    assert found.cause is FailureCause.UNAUTHORIZED
    assert "hidden-word" not in caplog.text and "Basic" not in caplog.text and "Authorization" not in caplog.text


def test_proxies_of_the_environment(stub: MakeStub, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = stub(lambda asked: Reply(body=b"[{}]"))
    address = proxy.url.removesuffix("/dicom-web")
    monkeypatch.setenv("http_proxy", address.replace("http://", "http://me:pw@"))
    with Client(Access(retries=0)) as client:
        assert rows_of(client, "http://archive.example/rs/studies") == [{}]
    assert proxy.asked[0].headers["host"] == "archive.example"
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6cHc="
    monkeypatch.setenv("no_proxy", "archive.example")
    assert failure_of("http://archive.example/rs/studies", Access(retries=0)).cause is FailureCause.CONNECTION
    assert len(proxy.asked) == 1


def test_stopping_wakes_those_who_wait(stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(503, headers={"Retry-After": "50"}))
    with Client(Access()) as client:
        threading.Timer(0.05, client.stop).start()
        begun = time.monotonic()
        with pytest.raises(ArchiveFailure):
            rows_of(client, f"{archive.url}/studies")
        assert time.monotonic() - begun < 30


# -- searches


def test_pages(stub: MakeStub) -> None:
    uids = [f"1.2.{n}" for n in range(7)]

    def answer(asked: Asked) -> Reply:
        offset = int(asked.query["offset"][0])
        return rows(*({"00080018": uid, "0020000E": "1.3"} for uid in uids[offset : offset + 3]))

    archive = stub(answer)
    with Client(Access()) as client:
        assert [one.uid for one in find_instances(client, archive.url, ["1.2"])] == uids
        assert len(archive.asked) == 4
        assert [one.uid for one in find_instances(client, archive.url, ["1.2"], count=7)] == uids
        assert len(archive.asked) == 4 + 3


def test_a_server_that_ignores_the_offset_ends(stub: MakeStub) -> None:
    archive = stub(lambda asked: rows({"00080018": "1.2.3", "0020000E": "1.3"}))
    with Client(Access()) as client:
        assert len(list(find_instances(client, archive.url, ["1.2"]))) == 1


def test_no_path_is_made_of_what_is_no_uid(stub: MakeStub) -> None:
    archive = stub(
        lambda asked: rows({"00080018": "../../x", "0020000E": "1.3"}, {"00080018": "1.4", "0020000E": "1.3"})
    )
    with Client(Access()) as client:
        found = find_instances(client, archive.url, ["1.2"], count=1)
    assert [one.uid for one in found] == ["1.4"]
    assert found.malformed is not None and "expected a SOP Instance UID (00080018), found '../../x'" in found.malformed


@pytest.mark.parametrize("refusal", [Reply(400), Reply(), rows({"0020000D": "9.9"})])
def test_a_server_that_takes_no_lists(refusal: Reply, stub: MakeStub) -> None:
    held = {"1.1", "1.3"}

    def answer(asked: Asked) -> Reply:
        wanted = asked.query["0020000D"][0].split(",")
        return refusal if len(wanted) > 1 else rows(*({"0020000D": uid} for uid in wanted if uid in held))

    archive = stub(answer)
    needs = [Need(uid) for uid in ("1.1", "1.2", "1.3")]
    with Client(Access(retries=0)) as client:
        presence = Presence(client)
        found = presence.ask(archive.url, needs)
        assert (
            isinstance(found["1.1"], StudyPresence) and found["1.2"] is None and isinstance(found["1.3"], StudyPresence)
        )
        assert len(archive.asked) == 4
        presence.ask(archive.url, needs)
        assert len(archive.asked) == 4 + 3  # it is not asked with a list again


def test_a_batch_that_was_not_answered_makes_nothing_absent(stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(500))
    with Client(Access(retries=0)) as client:
        found = Presence(client).ask(archive.url, [Need("1.1"), Need("1.2")])
    assert [getattr(found[uid], "cause", None) for uid in ("1.1", "1.2")] == [FailureCause.SERVER_ERROR] * 2
    assert len(archive.asked) == 1


# -- certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private authority, a server's certificate and a client's, made by openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def call(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    call("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=private authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        call("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        call("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return folder


def test_private_authority_and_client_certificate(certificates: Path, stub: MakeStub) -> None:
    archive = stub(lambda asked: Reply(body=b"[{}]"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    server = archive._server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = archive.url.replace("http://", "https://") + "/studies"
    untrusted = failure_of(url, Access(retries=0))
    assert (untrusted.cause, "not trusted" in untrusted.message) == (FailureCause.TLS, True)
    ca = certificates / "ca.pem"
    pair = {"client_certificate": certificates / "client.pem", "client_key": certificates / "client.key"}
    with Client(Access(retries=0, ca_file=ca, **pair)) as client:
        assert rows_of(client, url) == [{}]
    assert failure_of(url, Access(retries=0, ca_file=ca)).cause in (FailureCause.TLS, FailureCause.CONNECTION)
    with pytest.raises(ValueError, match="no certificates in PEM form"):
        Client(Access(ca_file=certificates / "ca.key"))
