"""Definitions that are nested or refer to each other without measure end in a diagnostic, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility

TEXT = {"definitionExpression": {"language": "text/fhirpath", "expression": "true"}}


def variable(name: str, *characteristics: dict[str, Any]) -> dict[str, Any]:
    url = f"http://e.example/{name}"
    return {
        "resourceType": "EvidenceVariable",
        "id": name,
        "url": url,
        "status": "active",
        "characteristic": list(characteristics),
    }


def to(name: str) -> dict[str, Any]:
    return {"definitionCanonical": f"http://e.example/{name}"}


def codes(criteria: fhir_eligibility.Criteria) -> set[str]:
    return {diagnostic.code for diagnostic in criteria.diagnostics if diagnostic.severity == "error"}


def test_references_that_double_end(tmp_path: Path) -> None:
    for number in range(40):
        following = to(f"v{number + 1}")
        (tmp_path / f"{number}.json").write_text(json.dumps(variable(f"v{number}", following, following)))
    (tmp_path / "40.json").write_text(json.dumps(variable("v40", TEXT)))
    criteria = fhir_eligibility.load_criteria(tmp_path, on_error="keep")
    assert codes(criteria) == {"too-many-references"}


def test_a_long_chain_of_references_ends(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number}.json").write_text(json.dumps(variable(f"v{number}", to(f"v{number + 1}"))))
    (tmp_path / "400.json").write_text(json.dumps(variable("v400", TEXT)))
    criteria = fhir_eligibility.load_criteria(tmp_path, on_error="keep")
    assert codes(criteria) == {"too-many-references"}


@pytest.mark.parametrize("depth", [20, 300, 20_000])
def test_combinations_in_each_other(depth: int, tmp_path: Path) -> None:
    inside = json.dumps(TEXT)
    before, after = '{"definitionByCombination":{"code":"all-of","characteristic":[', "]}}"
    head = json.dumps(variable("deep"))[:-2]
    (tmp_path / "deep.json").write_text(f"{head}{before * depth}{inside}{after * depth}]}}")
    (tmp_path / "plain.json").write_text(json.dumps(variable("plain", TEXT)))
    criteria = fhir_eligibility.load_criteria(tmp_path, on_error="keep")
    assert codes(criteria) == (set() if depth == 20 else {"too-deep"} if depth == 300 else {"invalid-json"})
    assert "plain" in " ".join(rules.artifact for rules in criteria.rules)
