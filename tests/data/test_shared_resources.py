"""Resources that are about no patient: retrieved in every patient's context, and one for all across files (CQL 1.5.3, "Context")."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.records.identity import shared_types
from fhir_eligibility.ui.commands.cli import main
from tests.runners.ways import HEAD, criteria_of, the_outcomes, write

Resource = dict[str, Any]
NOBODYS = ("Medication", "Location", "Organization", "Practitioner", "PractitionerRole", "Substance", "Device")
DRUGS = "http://example.org/drugs"


def patient(name: str) -> Resource:
    return {"resourceType": "Patient", "id": name, "birthDate": "1970-01-01"}


def visit(name: str, about: str, place: str) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": f"Patient/{about}"},
        "location": [{"location": {"reference": f"Location/{place}"}}],
    }


def location(name: str, called: str) -> Resource:
    return {"resourceType": "Location", "id": name, "name": called}


def medication(name: str, code: str) -> Resource:
    return {"resourceType": "Medication", "id": name, "code": {"coding": [{"system": DRUGS, "code": code}]}}


def order(name: str, about: str, drug: str) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": "active",
        "intent": "order",
        "subject": {"reference": f"Patient/{about}"},
        "medicationReference": {"reference": f"Medication/{drug}"},
    }


def bundle(*resources: Resource, kind: str = "collection") -> Resource:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": r} for r in resources]}


EMERGENCY = (
    "exists ([Encounter] E where exists (E.location EL where exists "
    "([Location] L where EndsWith(EL.location.reference, '/' + L.id) and L.name = 'Emergency')))"
)
EMERGENCY_PATH = "Encounter.location.location.resolve().ofType(Location).where(name = 'Emergency').exists()"
FORMS = {
    "bundles": {
        "a.json": [bundle(patient("a"), visit("e1", "a", "er"), location("er", "Emergency"))],
        "b.json": [bundle(patient("b"), visit("e2", "b", "ward"), location("ward", "Ward"))],
    },
    "one bundle": {
        "all.json": [
            bundle(
                patient("a"),
                patient("b"),
                visit("e1", "a", "er"),
                location("er", "Emergency"),
                visit("e2", "b", "ward"),
                location("ward", "Ward"),
            )  # fmt: skip
        ]
    },
    "lines": {
        "Encounter.ndjson": [visit("e1", "a", "er"), visit("e2", "b", "ward")],
        "Location.ndjson": [location("ward", "Ward"), location("er", "Emergency")],
        "Patient.ndjson": [patient("a"), patient("b")],
    },
    "a file of what is shared": {
        "hospital.json": [bundle(location("er", "Emergency"), location("ward", "Ward"), kind="batch")],
        "a.json": [bundle(patient("a"), visit("e1", "a", "er"), kind="transaction")],
        "b.json": [bundle(patient("b"), visit("e2", "b", "ward"), kind="transaction")],
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", ["text/cql", "text/fhirpath"])
def test_a_visit_at_a_named_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, language: str) -> None:
    asked = EMERGENCY if language == "text/cql" else EMERGENCY_PATH
    criteria = criteria_of(tmp_path / "criteria", asked, language=language)
    found = the_outcomes(criteria, write(FORMS[form], tmp_path / "data"), tmp_path / "out", monkeypatch)
    assert found == {"Patient/a": ["met"], "Patient/b": ["not met"]}


@pytest.mark.parametrize("kind", NOBODYS)
def test_every_type_that_is_nobodys_is_retrieved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    shared = {"resourceType": kind, "id": "x"}
    criteria = criteria_of(tmp_path / "criteria", f"exists [{kind}]", f"Count([{kind}]) = 2")
    files = {"a.json": [bundle(patient("a"), shared)], "Patient.ndjson": [patient("b")]}
    data = write(files, tmp_path / "data")
    expected = {"Patient/a": ["met", "not met"], "Patient/b": ["met", "not met"]}
    assert the_outcomes(criteria, data, tmp_path / "out", monkeypatch) == expected


def test_a_device_of_a_patient_is_that_patients_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"resourceType": "Device", "id": "own", "patient": {"reference": "Patient/a"}}
    files = {"data.ndjson": [patient("a"), patient("b"), own, {"resourceType": "Device", "id": "of-all"}]}
    criteria = criteria_of(tmp_path / "criteria", "Count([Device]) = 2", "Count([Device]) = 1")
    found = the_outcomes(criteria, write(files, tmp_path / "data"), tmp_path / "out", monkeypatch)
    assert found == {"Patient/a": ["met", "not met"], "Patient/b": ["not met", "met"]}


def test_types_without_a_way_to_a_patient_come_from_the_model() -> None:
    for version in ("r4", "r4b", "r5"):
        found = shared_types(load_model(version))
        assert found.issuperset(NOBODYS) and {"BiologicallyDerivedProduct", "DeviceDefinition"} <= found
        assert not found & {"Patient", "Bundle", "Observation", "Encounter", "MedicationRequest"}


def test_what_is_retrieved_is_evidence_with_its_file(tmp_path: Path) -> None:
    criteria = criteria_of(tmp_path / "criteria", EMERGENCY)
    data = write(FORMS["lines"], tmp_path / "data")
    (verdict, _) = fhir_eligibility.screen(criteria, data, now="2026-06-01")
    found = {e.resource: Path(str(e.file)).name for e in verdict.criteria[0].evidence if e.role == "met"}
    assert found == {"Location/er": "Location.ndjson", "Encounter/e1": "Encounter.ndjson"}


LIBRARY = f"""library Q version '1'
{
    HEAD.replace(
        "context Patient",
        f'''codesystem "Drugs": '{DRUGS}'
valueset "Rx": 'http://example.org/vs/rx'
code "drug": 'x' from "Drugs"
context Patient''',
    )
}
define ByCode: [MedicationRequest: "drug"] M return M.id.value
define ByValueSet: [MedicationRequest: "Rx"] M return M.id.value
define Places: [Location] L return L.name.value
define Found: exists "ByValueSet"
define Coded: [Medication: "drug"] M return M.id.value
"""
VALUE_SET = {
    "resourceType": "ValueSet",
    "url": "http://example.org/vs/rx",
    "status": "active",
    "expansion": {"contains": [{"system": DRUGS, "code": "x"}]},
}
RECORD = bundle(
    patient("a"),
    order("m1", "a", "med1"),
    order("m2", "a", "med2"),
    medication("med1", "x"),
    medication("med2", "y"),
    location("l1", "Ward"),
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "Q.cql").write_text(LIBRARY, "utf-8")
    (folder / "rx.json").write_text(json.dumps(VALUE_SET), "utf-8")
    write({"a.json": [RECORD]}, tmp_path / "data")
    return folder


def test_the_command_cql_finds_orders_that_refer_to_a_drug(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, files = library.parent / "data", ["--library", str(library / "Q.cql"), "--valuesets", str(library)]
    assert main(["cql", *files, "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ByCode"], found["ByValueSet"]) == (["m1"], ["m1"])
    assert (found["Places"], found["Coded"]) == (["Ward"], ["med1"])


def test_the_command_measure_finds_orders_that_refer_to_a_drug(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = library.parent / "data"
    arguments = ["measure", str(library / "Q.cql"), "--data", str(data), "--valuesets", str(library), "--out", "-"]
    assert main([*arguments, "--quiet"]) == 0
    (result,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert {g["id"]: g["populations"][0]["count"] for g in result["groups"]} == {"Found": 1}


def test_orders_of_several_patients_refer_to_drugs_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    criteria = criteria_of(
        tmp_path / "criteria",
        f"exists ([MedicationRequest] M where exists ([Medication] D where EndsWith((M.medication as FHIR.Reference).reference, '/' + D.id) "
        f"and exists (D.code.coding C where C.code = 'x' and C.system = '{DRUGS}')))",
    )
    files = {
        "Medication.ndjson": [medication(f"d{n}", "x" if n % 7 == 0 else "y") for n in range(40)],
        "MedicationRequest.ndjson": [order(f"o{n}", f"p{n % 10}", f"d{n}") for n in range(20)],
        "Patient.ndjson": [patient(f"p{n}") for n in range(10)],
    }
    found = the_outcomes(criteria, write(files, tmp_path / "data"), tmp_path / "out", monkeypatch)
    expected = {f"Patient/p{n}": ["met" if n % 7 == 0 or (n + 10) % 7 == 0 else "not met"] for n in range(10)}
    assert found == expected
