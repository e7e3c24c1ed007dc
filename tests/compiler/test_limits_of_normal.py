"""Limits of normal in the place of a unit: `2 UNL` is twice the upper limit of normal that the observation has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility

CODE = {"coding": [{"system": "http://loinc.org", "code": "1742-6"}]}


@pytest.mark.parametrize("unit", ["UNL", "ULN", "x ULN", "xULN"])
@pytest.mark.parametrize(("value", "limit", "expected"), [(85, 40, "met"), (75, 40, "not met"), (75, None, "unknown")])
def test_a_number_of_limits_of_normal(tmp_path: Path, unit: str, value: int, limit: int | None, expected: str) -> None:
    wanted = {"type": CODE, "valueQuantity": {"value": 2, "comparator": ">=", "unit": unit}}
    variable: dict[str, Any] = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active"}
    variable["characteristic"] = [{"linkId": "c", "definitionByTypeAndValue": wanted}]
    (tmp_path / "criteria.json").write_text(json.dumps(variable))
    observation: dict[str, Any] = {"resourceType": "Observation", "id": "o", "status": "final", "code": CODE}
    observation["subject"] = {"reference": "Patient/p"}
    observation["valueQuantity"] = {"value": value, "code": "U/L", "system": "http://unitsofmeasure.org"}
    if limit is not None:
        observation["referenceRange"] = [{"high": {"value": limit, "code": "U/L"}}]
    data = tmp_path / "data.ndjson"
    data.write_text("".join(json.dumps(one) + "\n" for one in ({"resourceType": "Patient", "id": "p"}, observation)))
    criteria = fhir_eligibility.load_criteria(tmp_path / "criteria.json", fhir_version="r4")
    (verdict,) = fhir_eligibility.screen(criteria, data, now="2026-03-01")
    assert verdict.criteria[0].outcome == expected
