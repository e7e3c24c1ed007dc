"""The steps of fetching.feature: a stub of a server with the example cohort, and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from fhir_eligibility.data.http.connection import Patience
from fhir_eligibility.ui.commands.cli import main
from tests.servers.fhir_stub import FhirStub
from tests.servers.stub import Export, Reply, Request, ndjson, running_stub, searchset, with_ranges

scenarios("fetching.feature")

CRITERIA = Path(__file__).parents[1] / "criteria" / "flute"
RULE = [str(CRITERIA / "cql" / "mr"), "--libraries", str(CRITERIA / "cql")]
TOKEN = "a-token-that-nobody-else-may-see"
SCT = "http://snomed.info/sct"


class Hospital:
    """A server with a cohort, and what was got from it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stub = stack.enter_context(running_stub())
        self.storage = stack.enter_context(running_stub())
        found: dict[str, dict[str, Any]] = {}
        for path in sorted((CRITERIA / "cohort").glob("*.json")):
            for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]:
                resource = entry["resource"]
                found.setdefault(f"{resource['resourceType']}/{resource['id']}", resource)
        self.fhir = FhirStub(self.stub, found.values(), page=5)
        self.export = Export(self.stub)
        self.files = {}
        for kind in sorted({resource["resourceType"] for resource in found.values()}):
            rows = [resource for resource in found.values() if resource["resourceType"] == kind]
            self.files[kind] = ndjson(*rows)
            self.export.file(kind, f"/files/{kind}?sig=1", with_ranges(self.files[kind]), count=len(rows))
        self.status: int | None = None

    def command(self, *arguments: str) -> None:
        self.status = main([*arguments, "--quiet"])

    def screen(self, data: str, name: str) -> None:
        out = str(self.folder / name)
        self.command("screen", *RULE, "--data", data, "--out", out, "--now", "2026-06-01")

    def verdicts(self, name: str) -> dict[str, tuple[str, Any]]:
        lines = (self.folder / name / "verdicts.ndjson").read_text().splitlines()
        return {v["patient"]: (v["verdict"], v["deciding"]) for v in map(json.loads, lines)}

    def problems(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name / "problems.ndjson").read_text().splitlines()]


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    with ExitStack() as stack:
        yield Hospital(tmp_path, stack)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is gained by waiting for a stub."""
    monkeypatch.setattr(Patience, "delay", lambda self, attempt: 0.0)


@given("a FHIR server with the example cohort")
def _(hospital: Hospital) -> None:
    assert len(hospital.fhir.resources) == 47


@given("the server goes away in the middle of a file")
def _(hospital: Hospital) -> None:
    content = hospital.files["ImagingStudy"]
    hospital.stub.on("/files/ImagingStudy", Reply(200, content, {"ETag": '"v1"'}, cut=len(content) // 2), Reply(500))


@given("the server knows no search by patient and leaves it out")
def _(hospital: Hospital) -> None:
    hospital.fhir.lenient = True
    hospital.fhir.knows.discard("patient")


@given("the pages of the server's procedures lead in a circle")
def _(hospital: Hospital) -> None:
    procedures = [r for r in hospital.fhir.resources if r["resourceType"] == "Procedure"]

    def circle(request: Request) -> Reply:
        number = int(request.value("_offset") or 0)
        here = f"{hospital.stub.base}/Procedure?patient=all&code=all&_offset="
        return searchset(
            procedures[number : number + 1], self_link=f"{here}{number}", next_link=f"{here}{(number + 1) % 3}"
        )

    hospital.stub.on("/fhir/Procedure", circle)


@given("a token in the environment")
def _(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_TOKEN", TOKEN)


@given("the server keeps its files elsewhere, for anyone with the link")
def _(hospital: Hospital) -> None:
    for item in hospital.export.sections["output"]:
        item["url"] = item["url"].replace(hospital.stub.root, hospital.storage.root)
        hospital.storage.on(f"/files/{item['type']}", Reply(200, hospital.files[item["type"]]))


@when("the cohort is exported")
def _(hospital: Hospital) -> None:
    hospital.command("export", hospital.stub.base, "--out", str(hospital.folder / "export"))


@when("the cohort is exported for the criteria")
def _(hospital: Hospital) -> None:
    hospital.command("export", hospital.stub.base, "--out", str(hospital.folder / "export"), "--criteria", *RULE)


@when("the cohort is exported with the token")
def _(hospital: Hospital) -> None:
    out = str(hospital.folder / "export")
    hospital.command("export", hospital.stub.base, "--out", out, "--auth", "bearer-env=HOSPITAL_TOKEN")


@when("the server is back")
def _(hospital: Hospital) -> None:
    hospital.stub.on("/files/ImagingStudy", with_ranges(hospital.files["ImagingStudy"]))


@when("the export is screened")
def _(hospital: Hospital) -> None:
    assert hospital.status == 0
    hospital.screen(str(hospital.folder / "export"), "results")


@when("the server is screened")
def _(hospital: Hospital) -> None:
    hospital.screen(hospital.stub.base, "results")


@then("the verdicts are those of the files")
def _(hospital: Hospital) -> None:
    assert hospital.status == 0
    hospital.screen(str(CRITERIA / "cohort"), "expected")
    expected = hospital.verdicts("expected")
    assert len(expected) == 12 and hospital.verdicts("results") == expected
    assert hospital.problems("results") == []


@then(parsers.parse("the server was asked for the types {types}"))
def _(hospital: Hospital, types: str) -> None:
    (asked,) = hospital.stub.seen("/fhir/$export")
    assert asked.value("_type") == types.replace(" ", "")


@then("the server was asked for procedures with the codes of examination and biopsy")
def _(hospital: Hospital) -> None:
    (asked,) = hospital.stub.seen("/fhir/$export")
    filters = [value for name, value in asked.query if name == "_typeFilter" and value.startswith("Procedure?")]
    assert filters == ["Procedure?code=410006001", "Procedure?code=86273004"]


@then("the command fails and no half file is to be seen")
def _(hospital: Hospital) -> None:
    assert hospital.status == 2
    names = {path.name for path in (hospital.folder / "export").iterdir()}
    assert "ImagingStudy.001.ndjson" not in names and "manifest.json" not in names


@then("the server has made one export")
def _(hospital: Hospital) -> None:
    assert hospital.status == 0 and len(hospital.stub.seen("/fhir/$export")) == 1


@then("the part that was there already was not fetched again")
def _(hospital: Hospital) -> None:
    half = len(hospital.files["ImagingStudy"]) // 2
    assert hospital.stub.seen("/files/ImagingStudy")[-1].headers["range"] == f"bytes={half}-"


@then("no verdict differs from those of the files but by being undetermined, and each patient is named")
def _(hospital: Hospital) -> None:
    found = hospital.verdicts("results")
    hospital.screen(str(CRITERIA / "cohort"), "expected")
    expected = hospital.verdicts("expected")
    assert found.keys() == expected.keys() and len(found) == 12
    undetermined = {patient for patient, (verdict, _) in found.items() if verdict == "undetermined"}
    assert {p: v[0] for p, v in found.items() if p not in undetermined} == {
        p: v[0] for p, v in expected.items() if p not in undetermined
    }
    assert len(undetermined) >= 10
    named = {problem["resource"] for problem in hospital.problems("results") if problem["code"] == "not-fetched"}
    assert named == set(found)


@then("the server has seen the token")
def _(hospital: Hospital) -> None:
    assert hospital.status == 0
    assert {request.headers.get("authorization") for request in hospital.stub.requests} == {f"Bearer {TOKEN}"}


@then("the keeper of the files has not")
def _(hospital: Hospital) -> None:
    assert len(hospital.storage.requests) == 5
    assert not any(TOKEN in str(request) for request in hospital.storage.requests)


@then("the token is in no file")
def _(hospital: Hospital) -> None:
    written = [path.read_text() for path in (hospital.folder / "export").iterdir()]
    assert len(written) == 7 and not any(TOKEN in text or "sig=" in text for text in written)
