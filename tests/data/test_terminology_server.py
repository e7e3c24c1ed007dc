"""Value sets from a terminology server: pages, patience, the cache, credentials, versions, and what is said when it fails."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.values.clinical import CodeSystem, ValueSet
from fhir_eligibility.artifacts.manifests import Manifest
from fhir_eligibility.data.terminology import server as terminology_server
from fhir_eligibility.data.terminology.files import TerminologyOptions
from fhir_eligibility.data.terminology.server import TerminologyServer
from fhir_eligibility.data.terminology.value_sets import Terminology, TerminologyError
from fhir_eligibility.ui.commands.cli import main
from tests.compiler.test_terminology_in_rules import TOBACCO, criteria_folder, patient, save
from tests.compiler.test_terminology_in_rules import outcome as verdict_of
from tests.data.test_terminology import BASE, SYSTEM, concepts, filtered, value_set
from tests.servers.stub import Reply, outcome
from tests.servers.terminology_stub import TerminologyStub, running_terminology

URL = BASE + "v"
SECRET = "s3cr3t-token"


@pytest.fixture
def stub() -> Iterator[TerminologyStub]:
    with running_terminology() as found:
        yield found


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def server(stub: TerminologyStub, waits: list[float]) -> Iterator[TerminologyServer]:
    found = TerminologyServer(stub.base, wait=waits.append)
    yield found
    found.close()


def expanded(server: TerminologyServer, version: str | None = None, systems: dict[str, str] | None = None) -> list[str]:
    found = server.expand(URL, version, systems or {})
    assert found is not None
    return [item["code"] for item in found["expansion"]["contains"]]


def refused(server: TerminologyServer) -> str:
    with pytest.raises(TerminologyError) as error:
        server.expand(URL, None, {})
    return str(error.value).replace(server.base, "SERVER")


# -- answers


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 7])
def test_all_pages_are_read(
    stub: TerminologyStub, server: TerminologyServer, monkeypatch: pytest.MonkeyPatch, count: int, total: bool
) -> None:
    monkeypatch.setattr(terminology_server, "COUNT", 3)
    stub.page, stub.total = 3, total
    codes = [f"c{number}" for number in range(count)]
    stub.add(URL, codes)
    assert expanded(server) == codes
    assert [query["offset"] for query in stub.asked][:3] == [["0"], ["3"], ["6"]][: len(stub.asked)]
    assert {tuple(query["count"]) for query in stub.asked} == {("3",)}


def test_a_server_that_gives_smaller_pages_than_asked_for(stub: TerminologyStub, server: TerminologyServer) -> None:
    stub.page = 2
    stub.add(URL, list("abcde"))
    assert expanded(server) == list("abcde")


def test_a_server_that_does_not_page(
    stub: TerminologyStub, server: TerminologyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminology_server, "COUNT", 3)
    stub.add(URL, list("abcde"))
    assert expanded(server) == list("abcde")
    stub.value_sets.clear()
    stub.add(URL, list("abc"))  # as many as a page holds: the next one is asked for, and is the same
    assert expanded(server) == list("abc")


def test_a_server_that_repeats_a_page(stub: TerminologyStub, server: TerminologyServer) -> None:
    stub.page, stub.repeat = 2, True
    stub.add(URL, list("abcde"))
    assert refused(server) == "the terminology server SERVER gives the same page of the expansion again and again"


def test_a_server_that_stops_before_its_total_leaves_the_rest_unknown(stub: TerminologyStub) -> None:
    expansion = {"total": 9, "contains": [{"system": SYSTEM, "code": "a"}]}
    stub.value_sets[URL] = [{**value_set("v"), "version": None, "expansion": expansion}]
    stub.failures = [Reply(200, body=stub.value_sets[URL][0])]
    empty = {**value_set("v"), "expansion": {"total": 9, "offset": 1, "contains": []}}
    stub.failures.append(Reply(200, body=empty))
    found = Terminology(server=TerminologyServer(stub.base))
    members = found.get(URL)
    assert [members.has((SYSTEM, code)) for code in "ab"] == [True, None]
    found.close()


def test_versions_go_to_the_server(stub: TerminologyStub, server: TerminologyServer) -> None:
    stub.add(URL, ["old"], "1")
    stub.add(URL, ["new"], "2")
    assert expanded(server, "1", {"http://b": "7", "http://a": "http://a/version/6"}) == ["old"]
    assert expanded(server) == ["new"]
    assert stub.asked[0]["valueSetVersion"] == ["1"]
    assert stub.asked[0]["system-version"] == ["http://a|http://a/version/6", "http://b|7"]
    assert "valueSetVersion" not in stub.asked[1]
    assert server.expand(URL, "3", {}) is None


def test_a_server_that_gives_another_version_than_asked_for(stub: TerminologyStub, server: TerminologyServer) -> None:
    stub.failures = [Reply(200, body={**value_set("v", "2"), "expansion": {"contains": []}})]
    with pytest.raises(TerminologyError, match="gave version 2, not 1"):
        server.expand(URL, "1", {})


# -- failures


def test_it_is_patient(stub: TerminologyStub, server: TerminologyServer, waits: list[float]) -> None:
    stub.add(URL, ["a"])
    moment = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60), usegmt=True)
    stub.failures = [Reply(429, headers={"Retry-After": "7"}), Reply(503, headers={"Retry-After": moment}), Reply(502)]
    assert expanded(server) == ["a"]
    assert waits[0] == 7 and 50 < waits[1] <= 60 and 3 <= waits[2] <= 4


def test_it_gives_up(stub: TerminologyStub, server: TerminologyServer, waits: list[float]) -> None:
    stub.failures = [Reply(503, outcome("transient", "under repair"))] * 5
    assert refused(server) == (
        "the terminology server SERVER: the server answered 503 Service Unavailable: under repair"
    )
    assert len(waits) == 4 and len(stub.asked) == 5
    stub.failures = [Reply(429, headers={"Retry-After": "3600"})]
    assert refused(server).endswith("the server asks to come again in 3600 seconds")


def test_a_server_that_is_not_there(waits: list[float]) -> None:
    with running_terminology() as gone:
        pass
    assert refused(TerminologyServer(gone.base, wait=waits.append)).startswith(
        "SERVER/ValueSet/$expand?...: no connection: "
    )
    assert len(waits) == 4


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (Reply(401), ": the server answered 401 Unauthorized (give credentials, or check those that were given); see --terminology-auth"),
        (Reply(422, outcome("too-costly", "100000 codes")), ": the server answered 422 Unprocessable Entity: 100000 codes"),
        (Reply(400, outcome("invalid", "what?")), ": the server answered 400 Bad Request: what?"),
        (Reply(200, b"<html>"), ": the answer is not valid JSON: JSON is malformed: invalid character (byte 0)"),
        (Reply(200, {"resourceType": "Bundle"}), " answered $expand with Bundle, not with an expanded ValueSet"),
        (Reply(200, {"resourceType": "ValueSet"}), " answered $expand with ValueSet, not with an expanded ValueSet"),
        (Reply(200, []), " did not answer with a FHIR resource"),
    ],
)  # fmt: skip
def test_answers_that_are_none(stub: TerminologyStub, server: TerminologyServer, failure: Reply, message: str) -> None:
    stub.failures = [failure]
    assert refused(server) == f"the terminology server SERVER{message}"


def test_a_value_set_that_it_does_not_know(stub: TerminologyStub, server: TerminologyServer) -> None:
    assert server.expand(URL, None, {}) is None
    stub.failures = [Reply(422, outcome("not-found", "no"))]
    assert server.expand(URL, None, {}) is None


# -- the cache


def test_the_cache_is_asked_first(stub: TerminologyStub, tmp_path: Path) -> None:
    stub.add(URL, ["a"])
    folder = tmp_path / "cache"
    make: Callable[..., TerminologyServer] = lambda **more: TerminologyServer(stub.base, folder, **more)  # noqa: E731
    assert expanded(make()) == ["a"]
    stub.value_sets.clear()
    stub.add(URL, ["b"])
    assert expanded(make()) == ["a"]
    assert len(stub.asked) == 1
    assert expanded(make(), systems={SYSTEM: "2"}) == ["b"]  # another question
    assert expanded(make(refresh=True)) == ["b"]
    assert expanded(make()) == ["b"]
    (broken, _) = sorted(folder.iterdir())
    for file in folder.iterdir():
        file.write_text("{")
    assert broken.suffix == ".json"
    assert expanded(make()) == ["b"]
    assert len(stub.asked) == 4


def test_what_is_not_known_is_not_kept(stub: TerminologyStub, tmp_path: Path) -> None:
    assert TerminologyServer(stub.base, tmp_path / "c").expand(URL, None, {}) is None
    stub.add(URL, ["a"])
    assert expanded(TerminologyServer(stub.base, tmp_path / "c")) == ["a"]


def test_a_cache_that_cannot_be_written(stub: TerminologyStub, tmp_path: Path) -> None:
    stub.add(URL, ["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(TerminologyError, match=r"the terminology cache .*file cannot be written"):
        TerminologyServer(stub.base, tmp_path / "file").expand(URL, None, {})


# -- credentials


@pytest.mark.parametrize(
    ("spec", "value", "header"),
    [
        ("bearer-env=TX_AUTH", SECRET, f"Bearer {SECRET}"),
        ("header-env=TX_AUTH", f"Bearer {SECRET}", f"Bearer {SECRET}"),
        ("user=apikey,password-env=TX_AUTH", "k", "Basic YXBpa2V5Oms="),
        ("header-env=TX_AUTH", "Basic YXBpa2V5Oms=", "Basic YXBpa2V5Oms="),
    ],
)
def test_credentials_come_from_a_variable(
    stub: TerminologyStub, monkeypatch: pytest.MonkeyPatch, spec: str, value: str, header: str
) -> None:
    monkeypatch.setenv("TX_AUTH", value)
    stub.credential = header
    stub.add(URL, ["a"])
    assert expanded(TerminologyServer(stub.base, auth=spec)) == ["a"]
    assert stub.credentials == [header]


def test_the_bare_name_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TX_AUTH", SECRET)
    with pytest.raises(
        ValueError, match=r"TX_AUTH is named by bearer-env=TX_AUTH \(a token\) or user=NAME,password-env="
    ):
        TerminologyServer("https://tx.example.org", auth="TX_AUTH")
    with pytest.raises(ValueError, match="--terminology-auth: expected credentials as bearer-env=VARIABLE") as error:
        TerminologyServer("https://tx.example.org", auth=SECRET)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("base", "value", "message"),
    [
        ("https://tx.example.org", None, "the environment variable TX_AUTH holds no token"),
        ("https://tx.example.org", f"{SECRET}\nX-Other: 1", "holds what no header can carry"),
        (f"https://me:{SECRET}@tx.example.org", SECRET, "credentials do not belong into an address"),
    ],
)
def test_credentials_that_are_refused(
    monkeypatch: pytest.MonkeyPatch, base: str, value: str | None, message: str
) -> None:
    monkeypatch.delenv("TX_AUTH", raising=False)
    if value is not None:
        monkeypatch.setenv("TX_AUTH", value)
    with pytest.raises(ValueError, match=message) as error:
        TerminologyServer(base, auth="bearer-env=TX_AUTH")
    assert SECRET not in str(error.value)


def test_a_credential_goes_to_its_server_alone(stub: TerminologyStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TX_AUTH", SECRET)
    with running_terminology() as other:
        other.add(URL, ["a"])
        stub.failures = [Reply(302, headers={"Location": f"{other.base}/ValueSet/$expand?url={URL}"})]
        assert expanded(TerminologyServer(stub.base, auth="bearer-env=TX_AUTH")) == ["a"]
        assert (stub.credentials, other.credentials) == ([f"Bearer {SECRET}"], [None])
    message = refused(TerminologyServer("http://tx.example.org", auth="bearer-env=TX_AUTH"))
    assert "credentials are sent over https only" in message and SECRET not in message


def test_a_credential_is_written_nowhere(
    stub: TerminologyStub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TX_AUTH", SECRET)
    stub.credential = f"Bearer {SECRET}"
    stub.add(TOBACCO, ["t"], "5")
    (tmp_path / "criteria").mkdir()
    folder = criteria_folder(tmp_path / "criteria")
    data, out = tmp_path / "data.json", tmp_path / "out"
    entries = [{"resource": r} for r in patient((SYSTEM, "t"))]
    data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    server = ["--terminology-server", stub.base, "--terminology-cache", str(tmp_path / "cache")]
    arguments = [
        "screen",
        str(folder),
        "--data",
        str(data),
        "--out",
        str(out),
        *server,
        "--terminology-auth",
        "bearer-env=TX_AUTH",
    ]
    with caplog.at_level(logging.DEBUG):
        assert main(arguments) == 0
        stub.credential = "Bearer another"
        assert main([*arguments, "--refresh-terminology"]) == 3
    printed = capsys.readouterr()
    assert "answered 401" in printed.err and "check the credentials of bearer-env=TX_AUTH" in printed.err
    (used,) = json.loads((out / "run.json").read_text())["value_sets"] or [None]
    assert used is None  # the second run had no value set
    kept = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    assert stub.credentials == [f"Bearer {SECRET}"] * 2
    assert [text for text in (*kept, printed.out, printed.err, caplog.text) if SECRET in text] == []
    assert any('"codes": 1' in text or '"code": "t"' in text for text in kept)


# -- with files and criteria


def test_files_come_first_and_what_they_do_not_tell_is_asked_for(stub: TerminologyStub) -> None:
    stub.add(URL, ["server"])
    stub.add(BASE + "w", ["a", "b"])
    stub.add(BASE + "known", ["never asked"])
    found = Terminology(server=TerminologyServer(stub.base), manifest=Manifest({SYSTEM: "7"}))
    found.add(value_set("known", compose={"include": [concepts("mine")]}), "file")
    found.add(value_set("w", compose={"include": [filtered("is-a", "x")]}), "file")
    found.add(value_set("importing", compose={"include": [{"valueSet": [URL]}]}), "file")
    assert found.get(BASE + "known").has((SYSTEM, "mine")) is True
    assert found.get(BASE + "w").has((SYSTEM, "b")) is True
    assert found.get(BASE + "importing").has((SYSTEM, "server")) is True
    assert [query["url"][0] for query in stub.asked] == [BASE + "w", URL]
    assert {tuple(query["system-version"]) for query in stub.asked} == {(f"{SYSTEM}|7",)}
    pinned = found.resolve(ValueSet(URL, codesystems=(CodeSystem(SYSTEM, "9"),)))
    assert pinned.record is not None and stub.asked[-1]["system-version"] == [f"{SYSTEM}|9"]
    found.close()
    assert found.get(BASE + "unheard-of") is None and len(stub.asked) == 3


def test_the_version_that_the_files_hold_is_asked_for(stub: TerminologyStub) -> None:
    stub.add(BASE + "w", ["old"], "1")
    stub.add(BASE + "w", ["new"], "2")
    found = Terminology(server=TerminologyServer(stub.base))
    found.add(value_set("w", "1", compose={"include": [filtered("is-a", "x")]}), "file")
    assert found.get(BASE + "w").codes == {(SYSTEM, "old")}
    assert [query["valueSetVersion"] for query in stub.asked] == [["1"]]
    found.close()


def test_a_value_set_in_part_stays_when_the_server_fails(stub: TerminologyStub) -> None:
    found = Terminology(server=TerminologyServer(stub.base))
    found.add(value_set("w", compose={"include": [concepts("a"), filtered("is-a", "x")]}), "file")
    resolved = found.resolve(ValueSet(BASE + "w"))
    assert resolved.expansion is not None
    assert [resolved.expansion.has((SYSTEM, code)) for code in "ab"] == [True, None]
    message = f"the terminology server {stub.base} does not know the value set {BASE}w"
    assert resolved.notes == [("terminology-server", message)]
    found.close()


def test_criteria_with_a_server(stub: TerminologyStub, tmp_path: Path) -> None:
    folder = criteria_folder(tmp_path)
    options = TerminologyOptions(server=stub.base)
    lacking = fhir_eligibility.load_criteria(folder, terminology_options=options, on_error="keep")
    assert [d.code for d in lacking.errors] == ["missing-valueset"]
    (told,) = [d for d in lacking.diagnostics if d.code == "terminology-server"]
    assert told.message == f"the terminology server {stub.base} does not know the value set {TOBACCO}"
    stub.add(TOBACCO, ["t"])
    criteria = fhir_eligibility.load_criteria(folder, terminology_options=options, on_error="keep")
    assert criteria.errors == () and criteria.terminology.server is None
    assert verdict_of(criteria, (SYSTEM, "t"))[0] == "met"
    assert verdict_of(criteria, (SYSTEM, "u"))[0] == "not met"
    save(folder, value_set("tobacco", compose={"include": [concepts("u")]}))
    asked = len(stub.asked)
    assert (
        verdict_of(fhir_eligibility.load_criteria(folder, terminology_options=options, on_error="keep"), (SYSTEM, "u"))[
            0
        ]
        == "met"
    )
    assert len(stub.asked) == asked


def test_without_urllib3_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    folder = str(criteria_folder(tmp_path))
    assert main(["check", folder, "--terminology-server", "https://tx.example.org"]) == 2
    assert "pip install urllib3" in capsys.readouterr().err
