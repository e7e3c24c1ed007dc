"""A value that does not have the shape its type demands leaves the criterion unknown, and the reason names the record and the element."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.runners.screening.criteria import load_criteria
from fhir_eligibility.runners.screening.screening import screen

SNOMED = "http://snomed.info/sct"
LIBRARY = """library X version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
codesystem "SCT": 'http://snomed.info/sct'
code "Cancer": '254837009' from "SCT"
context Patient
"""
GOOD: dict[str, Any] = {
    "resourceType": "Condition",
    "id": "good",
    "subject": {"reference": "Patient/p"},
    "code": {"coding": [{"system": SNOMED, "code": "1"}]},
    "recordedDate": "2020-01-01",
}


def bad(**elements: Any) -> dict[str, Any]:
    return {**GOOD, "id": "bad", **elements}


def told(folder: Path, language: str, expression: str, resource: dict[str, Any], patient: dict[str, Any]) -> Any:
    if language == "text/cql":
        (folder / "X.cql").write_text(f"{LIBRARY}define A: {expression}\n")
        language, expression = "text/cql-identifier", "X.A"
    expressed = {"definitionExpression": {"language": language, "expression": expression}}
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [expressed]}
    (folder / "e.json").write_text(json.dumps(artifact))
    criteria = load_criteria(folder / "e.json", libraries=[folder])
    (verdict,) = screen(
        criteria, list(compartments_of([{"resourceType": "Patient", "id": "p", **patient}, GOOD, resource]))
    )
    return verdict.criteria[0]


NUMBER = {"coding": [{"system": SNOMED, "code": 254837009}]}
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("text/cql", 'exists ([Condition] C where C.code ~ "Cancer")', bad(code=NUMBER), {}, "Condition/bad `code.coding.code`"),
    ("text/cql", 'exists ([Condition] C where C.code.coding[0] ~ "Cancer")', bad(code=NUMBER), {}, "Condition/bad `code.coding.code`"),
    ("text/cql", 'exists ([Condition] C where C.code ~ "Cancer")', bad(code={"coding": {"system": SNOMED}}), {}, "Condition/bad `code.coding`"),
    ("text/cql", 'exists ([Condition] C where C.code ~ "Cancer")', bad(code="Cancer"), {}, "Condition/bad `code`"),
    ("text/cql", "exists ([Condition] C where C.recordedDate before @2019-01-01)", bad(recordedDate="2020-13-01"), {}, "Condition/bad `recordedDate`"),
    ("text/cql", "Patient.gender = 'male'", GOOD, {"gender": 5}, "Patient/p `gender`"),
    ("text/fhirpath", "Condition.exists(code.coding.exists(code = 'x'))", bad(code=NUMBER), {}, "Condition/bad `code.coding.code`"),
    ("text/fhirpath", "Condition.exists(recordedDate < @2019)", bad(recordedDate=7), {}, "Condition/bad `recordedDate`"),
    ("text/fhirpath", "Condition.exists(recordedDate < @2019)", bad(recordedDate="yesterday"), {}, "Condition/bad `recordedDate`"),
    ("text/fhirpath", "Condition.note.exists(text = 'x')", bad(note={"text": "x"}), {}, "Condition/bad `note`"),
    ("text/fhirpath", "Patient.active", GOOD, {"active": "true"}, "Patient/p `active`"),
    ("text/fhirpath", "Patient.multipleBirth.ofType(integer) > 1", GOOD, {"multipleBirthInteger": "two"}, "Patient/p `multipleBirthInteger`"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "expression", "resource", "patient", "place"), CASES)
def test_the_reason_names_the_record_and_the_element(
    language: str, expression: str, resource: dict[str, Any], patient: dict[str, Any], place: str, tmp_path: Path
) -> None:
    found = told(tmp_path, language, expression, resource, patient)
    assert (found.outcome, str(found.reason)) == ("unknown", "error")
    assert found.detail.startswith(f"{place}: "), found.detail
