"""A Bulk Data export against a server that fails in the ways that servers do."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.data.records.sources import read_resources
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.export import ExportGone, ExportRequest
from fhir_eligibility.runners.server.export import Cancelled, ExportProgress, run_export
from tests.servers.stub import Export, Reply, Request, Stub, ndjson, outcome, running_stub, with_ranges

PATIENTS = [{"resourceType": "Patient", "id": f"p{n}"} for n in range(20)]
LINES = ndjson(*PATIENTS)
TOKEN = "secret-token-of-the-test"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running_stub() as running:
        yield running


class Waits(list[float]):
    """Instead of waiting, the seconds that would have been waited."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


class Token:
    """Credentials that count their renewals."""

    def __init__(self) -> None:
        self.renewed = 0

    def token(self, server: Server) -> str:
        return f"{TOKEN}-{self.renewed}"

    def renew(self, rejected: str) -> bool:
        self.renewed += 1
        return True


def server_at(stub: Stub, waits: Waits | None = None, credentials: Token | None = None) -> Server:
    return Server(
        stub.base, credentials=credentials, patience=Patience(attempts=4), wait=waits if waits is not None else Waits()
    )


def read(folder: Path) -> tuple[list[str], list[Problem]]:
    problems: list[Problem] = []
    return [loaded.name for loaded in read_resources([folder], problems.append)], problems


def test_kick_off_poll_and_download(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a?signature=abc", Reply(200, LINES), count=20)
    progress = [
        Reply(202, headers={"X-Progress": "10%", "Retry-After": "7"}),
        Reply(202, headers={"X-Progress": "90%"}),
    ]
    stub.on(Export.STATUS, *progress, lambda request: export.complete())
    waits, said = Waits(), []
    request = ExportRequest(types=("Patient", "Observation"), type_filters=("Observation?code=a", "Observation?code=b"))
    result = run_export(
        server_at(stub, waits), request, tmp_path / "out", progress=ExportProgress(said.append, lambda *numbers: None)
    )
    assert result.resources == {"Patient": 20} and result.problems == []
    assert waits == [7.0, 2.0]
    assert said == [
        "the server has accepted the export",
        "the server prepares the export: 10% (next look in 7 s)",
        "the server prepares the export: 90% (next look in 2 s)",
    ]
    (kick_off,) = stub.seen("/fhir/$export")
    assert kick_off.headers["prefer"] == "respond-async" and kick_off.headers["accept"] == "application/fhir+json"
    assert kick_off.query == [
        ("_outputFormat", "application/fhir+ndjson"),
        ("_type", "Patient,Observation"),
        ("_typeFilter", "Observation?code=a"),
        ("_typeFilter", "Observation?code=b"),
    ]
    assert (tmp_path / "out" / "Patient.001.ndjson").read_bytes() == LINES
    assert read(tmp_path / "out") == ([f"Patient/p{n}" for n in range(20)], [])
    everything = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "signature" not in everything


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ExportRequest("group", "g-1"), "/fhir/Group/g-1/$export"),
        (ExportRequest("patient"), "/fhir/Patient/$export"),
        (ExportRequest(since="2026-01-01T00:00:00Z"), "/fhir/$export"),
    ],
)
def test_levels(stub: Stub, tmp_path: Path, request_: ExportRequest, path: str) -> None:
    Export(stub).file("Patient", "/files/a", Reply(200, LINES))
    stub.on(path, Reply(202, headers={"Content-Location": f"{stub.root}{Export.STATUS}"}))
    run_export(server_at(stub), request_, tmp_path / "out")
    (kick_off,) = stub.seen(path)
    assert kick_off.value("_since") == request_.since


def test_a_server_that_takes_the_kick_off_by_post_only(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", Reply(200, LINES))
    accepted = Reply(202, headers={"Content-Location": Export.STATUS})
    stub.on("/fhir/$export", Reply(405))
    stub.on("/fhir/$export", accepted, method="POST")
    run_export(server_at(stub), ExportRequest(types=("Patient",), since="2026-01-01T00:00:00Z"), tmp_path / "out")
    (kick_off,) = stub.seen("/fhir/$export", "POST")
    assert json.loads(kick_off.body)["parameter"] == [
        {"name": "_outputFormat", "valueString": "application/fhir+ndjson"},
        {"name": "_type", "valueString": "Patient"},
        {"name": "_since", "valueInstant": "2026-01-01T00:00:00Z"},
    ]


def test_too_many_requests_everywhere(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    busy = Reply(429, headers={"Retry-After": "30"})
    export.file("Patient", "/files/a", Reply(503), busy, Reply(200, LINES))
    stub.on("/fhir/$export", busy, Reply(202, headers={"Content-Location": f"{stub.root}{Export.STATUS}"}))
    stub.on(Export.STATUS, Reply(504), busy, lambda request: export.complete())
    waits = Waits()
    assert run_export(server_at(stub, waits), ExportRequest(), tmp_path / "out").files == 1
    assert waits.count(30.0) == 3 and len(waits) == 5
    assert all(0.75 <= seconds <= 1 for seconds in waits if seconds != 30)


def test_patience_ends(stub: Stub, tmp_path: Path) -> None:
    stub.on("/fhir/$export", Reply(429, outcome("throttled", "one export at a time")))
    waits = Waits()
    with pytest.raises(ServerError, match="429 Too Many Requests: one export at a time"):
        run_export(server_at(stub, waits), ExportRequest(), tmp_path / "out")
    assert len(waits) == 3 and len(stub.seen("/fhir/$export")) == 4
    stub.on("/fhir/$export", Reply(429, headers={"Retry-After": "86400"}))
    with pytest.raises(ServerError, match="come again in 86400 seconds"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")


def test_a_refused_kick_off_is_told_in_the_server_s_words(stub: Stub, tmp_path: Path) -> None:
    stub.on("/fhir/$export", Reply(400, outcome("not-supported", "_typeFilter is not known here")))
    with pytest.raises(ServerError, match=r"_typeFilter is not known here \(the types can be exported whole instead"):
        run_export(server_at(stub), ExportRequest(type_filters=("Observation?code=a",)), tmp_path / "out")
    assert not (tmp_path / "out" / ".export-state").exists()
    stub.on("/fhir/$export", Reply(200, {"resourceType": "Bundle"}))
    with pytest.raises(ServerError, match="200 at once, not 202"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")


def test_an_export_that_fails_or_is_gone(stub: Stub, tmp_path: Path) -> None:
    Export(stub)
    stub.on(Export.STATUS, Reply(500, outcome("transient", "later")), Reply(500, outcome("exception", "disk full")))
    with pytest.raises(ExportGone, match="disk full: the export failed; it must be started again"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert len(stub.seen(Export.STATUS)) == 2
    stub.on(Export.STATUS, Reply(404))
    with pytest.raises(ExportGone, match="no longer has the export; it must be started again"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert len(stub.seen("/fhir/$export")) == 1


def test_waiting_has_an_end_and_a_rerun_goes_on(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, LINES))
    stub.on(Export.STATUS, Reply(202, headers={"Retry-After": "40"}))
    with pytest.raises(ServerError, match=r"not complete after 80 seconds \(in progress\)"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out", longest=100)
    stub.on(Export.STATUS, lambda request: export.complete())
    result = run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert result.resumed and result.resources == {"Patient": 20}
    assert len(stub.seen("/fhir/$export")) == 1


def test_a_broken_download_goes_on_where_it_stopped(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", with_ranges(LINES, first_cut=300), count=20)
    result = run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert result.problems == [] and (tmp_path / "out" / "Patient.001.ndjson").read_bytes() == LINES
    first, second = stub.seen("/files/a")
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=300-", '"v1"')


def test_without_ranges_it_starts_again(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", Reply(200, LINES, cut=300), Reply(200, LINES), count=20)
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert (tmp_path / "out" / "Patient.001.ndjson").read_bytes() == LINES
    assert all("range" not in request.headers for request in stub.seen("/files/a"))


def test_parts_of_different_files_are_never_joined(stub: Stub, tmp_path: Path) -> None:
    """The file has another ETag the second time: the server sends all of it, and the first part is dropped."""
    other = LINES.replace(b'"p', b'"q')
    answers = [with_ranges(LINES, '"v1"', first_cut=300), with_ranges(other, '"v2"')]
    Export(stub).file("Patient", "/files/a", *answers, count=20)
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert (tmp_path / "out" / "Patient.001.ndjson").read_bytes() == other


def test_a_download_that_always_breaks_leaves_no_file_and_a_rerun_finishes_it(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, LINES, {"ETag": '"v1"'}, cut=100))
    export.file("Observation", "/files/b", Reply(200, ndjson({"resourceType": "Observation", "id": "o"})))
    with pytest.raises(ServerError, match=r"Patient\.001: the connection broke"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out", connections=1)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "Patient.001.ndjson" not in names and "Patient.001.ndjson.part" not in names
    assert {"Patient.001.part", ".export-state"} <= names and "manifest.json" not in names
    stub.on("/files/a", with_ranges(LINES))
    result = run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert result.resources == {"Patient": 20, "Observation": 1}
    assert stub.seen("/files/a")[-1].headers["range"] == "bytes=100-"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "Patient.001.ndjson",
        "Observation.001.ndjson",
        "manifest.json",
        ".export-state",
    }


def test_files_that_are_there_are_not_fetched_again(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, LINES))
    export.file("Observation", "/files/b", Reply(500))
    with pytest.raises(ServerError, match="500"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out", connections=1)
    stub.on("/files/b", Reply(200, ndjson({"resourceType": "Observation", "id": "o"})))
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert len(stub.seen("/files/a")) == 1
    requests = len(stub.requests)
    again = run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert again.resources == {"Patient": 20, "Observation": 1} and len(stub.requests) == requests


def test_an_expired_link_is_asked_for_anew(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/old", Reply(403, b"<Error>expired</Error>"), count=20)
    links = iter(["/files/old", "/files/new"])

    def manifest(request: Request) -> Reply:
        export.sections["output"][0]["url"] = f"{stub.root}{next(links)}"
        return export.complete()

    stub.on(Export.STATUS, manifest)
    stub.on("/files/new", Reply(200, LINES))
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert (tmp_path / "out" / "Patient.001.ndjson").read_bytes() == LINES


def test_a_link_that_stays_expired(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", Reply(403))
    with pytest.raises(ServerError, match="file of the export: the server answered 403"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert len(stub.seen(Export.STATUS)) == 4


def test_an_expired_export_must_be_started_again(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(410))
    stub.on(Export.STATUS, lambda request: export.complete(), Reply(404))
    with pytest.raises(ExportGone, match="must be started again"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    stub.on(Export.STATUS, lambda request: export.complete())
    stub.on("/files/a", Reply(200, LINES))
    result = run_export(server_at(stub), ExportRequest(), tmp_path / "out", restart=True)
    assert not result.resumed and result.resources == {"Patient": 20}
    assert len(stub.seen("/fhir/$export")) == 2 and len(stub.seen(Export.STATUS, "DELETE")) == 1


def test_another_export_is_not_mixed_in(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", Reply(200, LINES))
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    with pytest.raises(ServerError, match="holds another export"):
        run_export(server_at(stub), ExportRequest(types=("Patient",)), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ServerError, match=r"not empty \(thesis.txt\)"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "mine", restart=True)


def test_counts_of_the_manifest(stub: Stub, tmp_path: Path) -> None:
    """A count that is wrong twice is told, in the summary and to whoever reads the folder."""
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, LINES), count=21)
    export.file("Patient", "/files/b", Reply(200, ndjson(*PATIENTS[:3])), Reply(200, LINES), count=20)
    result = run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    text = "Patient.001.ndjson: the manifest says 21 resources, the file has 20"
    assert result.problems == [text]
    assert len(stub.seen("/files/a")) == 2 and len(stub.seen("/files/b")) == 2
    _, problems = read(tmp_path / "out")
    assert [(p.code, p.message) for p in problems] == [("incomplete-export", text)]


def test_a_line_that_is_cut_off_is_fetched_again(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", Reply(200, LINES[:-10]), Reply(200, LINES))
    result = run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert result.resources == {"Patient": 20} and result.problems == []
    assert len(stub.seen("/files/a")) == 2


def test_compressed_files(stub: Stub, tmp_path: Path) -> None:
    packed = gzip.compress(LINES)
    whole = Reply(200, packed, {"Content-Encoding": "gzip"})
    Export(stub).file("Patient", "/files/a", Reply(200, packed[:-20], {"Content-Encoding": "gzip"}), whole, count=20)
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert (tmp_path / "out" / "Patient.001.ndjson.gz").read_bytes() == packed
    assert len(read(tmp_path / "out")[0]) == 20


def test_deleted_and_error_files(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, LINES))
    deletion = {"request": {"method": "DELETE", "url": "Patient/p3"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [deletion]}
    export.file("Bundle", "/files/d", Reply(200, ndjson(bundle)), section="deleted")
    issues = [outcome("not-supported", "Basic was left out", "warning"), outcome("exception", "two images lost")]
    export.file("OperationOutcome", "/files/e", Reply(200, ndjson(*issues, issues[1])), section="error")
    result = run_export(server_at(stub), ExportRequest(since="2026-01-01T00:00:00Z"), tmp_path / "out")
    assert result.deleted == 1
    assert result.problems == [
        "the server reports: warning: Basic was left out",
        "the server reports: error: two images lost (2 times)",
    ]
    criteria = fhir_eligibility.load_criteria(Path(__file__).parents[2] / "criteria" / "flute" / "mr")
    screened = {verdict.patient for verdict in fhir_eligibility.screen(criteria, tmp_path / "out", now="2026-06-01")}
    assert screened == {f"Patient/p{n}" for n in range(20) if n != 3}
    found: list[Problem] = []
    loaded = list(read_resources([tmp_path / "out"], found.append))
    assert [item.deleted for item in loaded if item.deleted] == ["Patient/p3"]
    assert not any(item.resource and item.resource["resourceType"] == "OperationOutcome" for item in loaded)


def test_linked_manifests(stub: Stub, tmp_path: Path) -> None:
    """A manifest may go on in another (link, relation next), with addresses relative to it; one that leads back is an error."""
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, ndjson(PATIENTS[0])))
    first = export.complete().body
    more = {"output": [{"type": "Patient", "url": "/files/b"}], "link": []}
    stub.on(Export.STATUS, Reply(200, {**first, "link": [{"relation": "next", "url": f"{stub.root}/more"}]}))
    stub.on("/more", Reply(200, {**first, **more}))
    stub.on("/files/b", Reply(200, ndjson(PATIENTS[1])))
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    assert read(tmp_path / "out") == (["Patient/p0", "Patient/p1"], [])
    stub.on("/more", Reply(200, {**first, "link": [{"relation": "next", "url": f"{stub.root}/more"}]}))
    with pytest.raises(ServerError, match="linked in a circle"):
        run_export(server_at(stub), ExportRequest(), tmp_path / "two")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"resourceType": "Bundle"}, "has no output"),
        ({"output": []}, "does not say requiresAccessToken"),
        ({"output": [{"url": "x"}], "requiresAccessToken": False}, "a file without url or type in output"),
        (
            {"output": [{"type": "../../etc/passwd", "url": "x"}], "requiresAccessToken": False},
            "a file without url or type in output",
        ),
    ],
)
def test_manifests_that_are_none(stub: Stub, tmp_path: Path, manifest: dict[str, Any], message: str) -> None:
    Export(stub)
    stub.on(Export.STATUS, Reply(200, manifest))
    with pytest.raises(ServerError, match=message):
        run_export(server_at(stub), ExportRequest(), tmp_path / "out")


def test_a_missing_file_of_the_manifest_is_a_problem(stub: Stub, tmp_path: Path) -> None:
    Export(stub).file("Patient", "/files/a", Reply(200, LINES))
    run_export(server_at(stub), ExportRequest(), tmp_path / "out")
    (tmp_path / "out" / "Patient.001.ndjson").unlink()
    names, problems = read(tmp_path / "out")
    assert names == [] and [(p.code, p.hint) for p in problems] == [
        ("not-found", "run the export again: it fetches what is missing")
    ]
    assert run_export(server_at(stub), ExportRequest(), tmp_path / "out").files == 1
    assert len(read(tmp_path / "out")[0]) == 20


def test_a_type_filter_that_loses_resources_is_found_out(stub: Stub, tmp_path: Path) -> None:
    """The server's own search finds more than it exported; only a search that used both parameters counts."""
    Export(stub).file("Observation", "/files/a", Reply(200, ndjson({"resourceType": "Observation", "id": "o"})))
    request = ExportRequest(types=("Observation",), type_filters=("Observation?code=a", "Observation?code=b"))

    def counting(self_link: str) -> Reply:
        link = {"relation": "self", "url": f"{stub.base}/Observation?{self_link}"}
        return Reply(200, {"resourceType": "Bundle", "type": "searchset", "total": 5, "link": [link]})

    stub.on("/fhir/Observation", counting("code=a%2Cb&_lastUpdated=le2026"))
    result = run_export(server_at(stub), request, tmp_path / "one")
    assert result.problems == [
        "Observation: the export holds 1 by _typeFilter, but the server's search finds 5; "
        "export the types whole (--no-type-filter)"
    ]
    (asked,) = stub.seen("/fhir/Observation")
    assert asked.query == [("code", "a,b"), ("_lastUpdated", "le2026-06-01T00:00:00Z"), ("_summary", "count")]
    stub.on("/fhir/Observation", counting("code=a%2Cb"))
    assert run_export(server_at(stub), request, tmp_path / "two").problems == []


# -- credentials


@pytest.mark.parametrize("requires", [True, False])
def test_credentials_go_to_other_hosts_only_where_the_manifest_says_so(
    stub: Stub, tmp_path: Path, requires: bool
) -> None:
    with running_stub() as files:
        export = Export(stub)
        export.requires_token = requires
        export.file("Patient", "/files/a", Reply(200, LINES))
        export.sections["output"][0]["url"] = f"{files.root}/files/a"
        files.on("/files/a", Reply(200, LINES))
        run_export(server_at(stub, credentials=Token()), ExportRequest(), tmp_path / "out")
        expected = f"Bearer {TOKEN}-0"
        assert [request.headers.get("authorization") for request in files.requests] == [expected if requires else None]
        assert {request.headers.get("authorization") for request in stub.requests} == {expected}
    assert TOKEN not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


def test_a_token_that_ends_is_renewed(stub: Stub, tmp_path: Path) -> None:
    export = Export(stub)
    export.requires_token = True
    export.file("Patient", "/files/a", Reply(401), Reply(200, LINES))
    credentials = Token()
    run_export(server_at(stub, credentials=credentials), ExportRequest(), tmp_path / "out")
    assert [r.headers["authorization"] for r in stub.seen("/files/a")] == [f"Bearer {TOKEN}-0", f"Bearer {TOKEN}-1"]
    assert credentials.renewed == 1


def test_credentials_do_not_follow_a_redirect(stub: Stub, tmp_path: Path) -> None:
    with running_stub() as storage:
        export = Export(stub)
        export.requires_token = True
        export.file("Patient", "/files/a", Reply(302, headers={"Location": f"{storage.root}/bucket/a?sig=1"}))
        storage.on("/bucket/a", Reply(200, LINES))
        run_export(server_at(stub, credentials=Token()), ExportRequest(), tmp_path / "out")
        assert ["authorization" in request.headers for request in storage.requests] == [False]


# -- interruptions


@pytest.mark.parametrize(
    ("when", "message", "resumable"),
    [
        ("status", "interrupted; the export was cancelled on the server", False),
        ("file", "interrupted; the same command goes on with the downloads", True),
    ],
)
def test_ctrl_c(stub: Stub, tmp_path: Path, when: str, message: str, resumable: bool) -> None:
    export = Export(stub)
    export.file("Patient", "/files/a", Reply(200, LINES))

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def interrupting(reply: Reply) -> Reply:
        threading.Timer(0.05, press).start()
        return reply

    if when == "status":
        stub.on(Export.STATUS, lambda request: interrupting(Reply(202, headers={"Retry-After": "60"})))
    else:
        stub.on("/files/a", lambda request: interrupting(Reply(503, headers={"Retry-After": "60"})))
    with pytest.raises(Cancelled, match=message):
        run_export(Server(stub.base), ExportRequest(), tmp_path / "out")
    assert len(stub.seen(Export.STATUS, "DELETE")) == (0 if resumable else 1)
    assert (tmp_path / "out" / ".export-state").exists() == resumable
    stub.on(Export.STATUS, lambda request: export.complete())
    stub.on("/files/a", Reply(200, LINES))
    assert run_export(server_at(stub), ExportRequest(), tmp_path / "out").resumed == resumable
    assert len(read(tmp_path / "out")[0]) == 20
