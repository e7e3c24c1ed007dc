"""Values that are only bounds (`<0.1`, `>100`) decide a comparison where every value on their side does, and leave it unknown where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility

LOINC = "http://loinc.org"
CODE = {"coding": [{"system": LOINC, "code": "2857-1"}]}


def outcome(folder: Path, definition: dict[str, Any], quantity: dict[str, Any]) -> tuple[str, str | None]:
    variable = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "status": "active",
        "characteristic": [{"linkId": "c", **definition}],
    }
    (folder / "criteria.json").write_text(json.dumps(variable))
    psa = {"resourceType": "Observation", "id": "o", "status": "final", "code": CODE}
    everything = [
        {"resourceType": "Patient", "id": "p"},
        {**psa, "subject": {"reference": "Patient/p"}, "valueQuantity": quantity},
    ]
    (folder / "data.ndjson").write_text("".join(json.dumps(one) + "\n" for one in everything))
    criteria = fhir_eligibility.load_criteria(folder / "criteria.json", fhir_version="r4")
    (verdict,) = fhir_eligibility.screen(criteria, folder / "data.ndjson", now="2026-03-01T00:00:00Z")
    return verdict.criteria[0].outcome, verdict.criteria[0].reason


CASES = [
    ("<", 4, "<", "0.1", "met"),
    ("<", 4, "<", "4", "met"),
    ("<", 4, "<=", "4", "unknown"),
    ("<", 4, "<", "5", "unknown"),
    ("<", 4, ">", "4", "not met"),
    ("<", 4, ">=", "4", "not met"),
    ("<", 4, ">", "3", "unknown"),
    ("<=", 4, "<=", "4", "met"),
    ("<=", 4, ">", "4", "not met"),
    ("<=", 4, ">=", "4", "unknown"),
    (">=", 3, ">", "100", "met"),
    (">=", 3, ">=", "3", "met"),
    (">=", 3, ">", "2", "unknown"),
    (">=", 3, "<", "3", "not met"),
    (">=", 3, "<=", "3", "unknown"),
    (">", 3, ">", "3", "met"),
    (">", 3, ">=", "3", "unknown"),
    (">", 3, "<=", "3", "not met"),
    (">=", 3, "ad", "100", "unknown"),
]


@pytest.mark.parametrize(("asked", "limit", "bound", "value", "expected"), CASES)
def test_a_bound_decides_only_what_is_certain(
    tmp_path: Path, asked: str, limit: int, bound: str, value: str, expected: str
) -> None:
    recorded = {"value": float(value), "comparator": bound, "code": "ng/mL", "system": "http://unitsofmeasure.org"}
    wanted = {"value": limit, "comparator": asked, "code": "ng/mL", "unit": "ng/mL"}
    coded = {"definitionByTypeAndValue": {"type": CODE, "valueQuantity": wanted}}
    text = f"Observation.where(value.ofType(Quantity) {asked} {limit} 'ng/mL').exists()"
    expression = {"definitionExpression": {"language": "text/fhirpath", "expression": text}}
    for definition in (coded, expression):
        found, reason = outcome(tmp_path, definition, recorded)
        assert found == expected
        assert reason == ("not-computable" if expected == "unknown" else None)


def test_units_are_converted(tmp_path: Path) -> None:
    text = "Observation.where(value.ofType(Quantity) < 4 'ng/mL').exists()"
    expression = {"definitionExpression": {"language": "text/fhirpath", "expression": text}}
    assert outcome(tmp_path, expression, {"value": 100, "comparator": "<", "code": "ng/L"}) == ("met", None)
    assert outcome(tmp_path, expression, {"value": 5000, "comparator": ">", "code": "ng/L"}) == ("not met", None)
    assert outcome(tmp_path, expression, {"value": 1, "comparator": "<", "code": "mm"})[0] == "unknown"


def test_equality_is_false_only_where_no_value_is_equal(tmp_path: Path) -> None:
    text = "Observation.where(value.ofType(Quantity) = 4 'ng/mL').exists()"
    expression = {"definitionExpression": {"language": "text/fhirpath", "expression": text}}
    assert outcome(tmp_path, expression, {"value": 4, "comparator": "<", "code": "ng/mL"}) == ("not met", None)
    assert outcome(tmp_path, expression, {"value": 4, "comparator": "<=", "code": "ng/mL"})[0] == "unknown"
