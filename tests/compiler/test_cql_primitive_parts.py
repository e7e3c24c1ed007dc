"""What JSON writes of a primitive beside it (`_status`) is read in CQL: extensions and id, with and without a value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility

SUBJECT = {"subject": {"reference": "Patient/p"}, "code": {"text": "x"}}
EXTENSION = [{"url": "http://example.org/why", "valueString": "y"}]
PLAIN = {"resourceType": "Observation", "id": "plain", "status": "final", **SUBJECT}
EXTENDED = {**PLAIN, "id": "extended", "_status": {"id": "s1", "extension": EXTENSION}}
ONLY = {"resourceType": "Observation", "id": "only", "_status": {"extension": EXTENSION}, **SUBJECT}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("exists (O.status.extension)", [False, True, True]),
        ("O.status.extension.url contains 'http://example.org/why'", [False, True, True]),
        ("O.status.id = 's1'", [False, True, False]),
        ("O.status = 'final'", [True, True, False]),
    ],
)
def test_extensions_and_ids_of_primitives_are_no_error(tmp_path: Path, condition: str, met: list[bool]) -> None:
    text = f"exists ([Observation] O where {condition})"
    expression = {"language": "text/cql-expression", "expression": text}
    variable: dict[str, Any] = {"resourceType": "EvidenceVariable", "id": "ev", "status": "active"}
    variable["characteristic"] = [{"linkId": "c", "definitionExpression": expression}]
    (tmp_path / "criteria.json").write_text(json.dumps(variable))
    criteria = fhir_eligibility.load_criteria(tmp_path / "criteria.json", fhir_version="r4")
    for observation, expected in zip((PLAIN, EXTENDED, ONLY), met, strict=True):
        data = tmp_path / "data.ndjson"
        data.write_text(
            "".join(json.dumps(one) + "\n" for one in ({"resourceType": "Patient", "id": "p"}, observation))
        )
        (verdict,) = fhir_eligibility.screen(criteria, data, now="2026-03-01")
        result = verdict.criteria[0]
        assert result.reason != "error", result.detail
        assert (result.outcome == "met") is expected
