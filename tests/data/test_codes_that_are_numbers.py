"""A number in the place of a code that is asked for is malformed data: the answer is in doubt on every way of reading, neither "yes" nor "no"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from tests.data.every_way import screened

S = "http://snomed.info/sct"
LIBRARY = f"""library X version '1'
using FHIR version '4.0.1'
codesystem "S": '{S}'
code "C": '254837009' from "S"
context Patient
define A: exists [Condition: "C"]
define B: not exists [Condition: "C"]
"""
EXISTS = f"Condition.where(code.coding.exists(system = '{S}' and code = '254837009')).exists()"


def condition(code: Any, number: int = 0, system: str = S) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": f"c{number}",
        "subject": {"reference": "Patient/a"},
        "code": {"coding": [{"system": system, "code": code}]},
    }


def definitions(folder: Path) -> Any:
    folder.mkdir()
    (folder / "X.cql").write_text(LIBRARY, "utf-8")
    expressions = [
        {"definitionExpression": {"language": "text/fhirpath", "expression": EXISTS}},
        {"definitionExpression": {"language": "text/cql-identifier", "expression": "X.A"}},
        {"definitionExpression": {"language": "text/cql-identifier", "expression": "X.B"}},
        {"definitionCodeableConcept": {"coding": [{"system": S, "code": "254837009", "display": "x (disorder)"}]}},
    ]
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "status": "active",
        "characteristic": expressions,
    }
    (folder / "ev.json").write_text(json.dumps(artifact), "utf-8")
    return fhir_eligibility.load_criteria(folder)


UNKNOWN, MET, NOT = ("unknown",) * 4, ("met", "met", "not met", "met"), ("not met", "not met", "met", "not met")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([condition(254837009)], UNKNOWN),
        ([condition(254837009, system="https://snomed.info/sct")], ("not met", *UNKNOWN[1:])),
        ([condition(254837009), condition("254837009", 1)], MET),
        ([condition("254837009")], MET),
        ([condition("5"), condition(254837009, 1)], UNKNOWN),
        ([condition(n, n) for n in range(1, 6)] + [condition(254837009, 9)], UNKNOWN),
        ([condition("5")], NOT),
    ],
)
def test_a_number_is_in_doubt(tmp_path: Path, records: list[dict[str, Any]], expected: tuple[str, ...]) -> None:
    rules = definitions(tmp_path / "criteria")
    data = tmp_path / "data"
    data.mkdir()
    (data / "Patient.ndjson").write_text('{"resourceType":"Patient","id":"a"}\n', "utf-8")
    (data / "Condition.ndjson").write_text("".join(json.dumps(one) + "\n" for one in records), "utf-8")
    for way, found, _ in screened(rules, data, tmp_path / "out"):
        assert found["Patient/a"][1:] == expected, way


def test_the_sentence_names_the_record_and_the_element(tmp_path: Path) -> None:
    rules = definitions(tmp_path / "criteria")
    patients = fhir_eligibility.compartments_of([{"resourceType": "Patient", "id": "a"}, condition(254837009)])
    found = fhir_eligibility.screen(rules, patients)
    (verdict,) = list(found)
    for criterion in verdict.criteria:
        assert criterion.reason == "error"
        assert "Condition/c0" in criterion.detail and "code" in criterion.detail and "254837009" in criterion.detail
