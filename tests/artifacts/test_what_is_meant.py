"""What a definition refers to and leaves out: no other version stands in, and what is not known is not passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from tests.compiler.forms.judging import LOINC, NOW, PATIENT, Json, concept, group, record, variable

DISEASE = {"definitionCodeableConcept": concept("254837009")}
SICK = record("Condition", code=concept("254837009"))


def first(resources: list[Json], records: list[Json], folder: Path) -> tuple[str, str | None]:
    """Outcome and reason of the first criterion of the first artifact of a bundle."""
    path = folder / "bundle.json"
    entries = [{"resource": resource} for resource in resources]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(path, fhir_version="r4", on_error="keep")
    data = list(fhir_eligibility.compartments_of([PATIENT, *records], model=load_model("r4")))
    result = next(iter(fhir_eligibility.screen(criteria, data, now=NOW))).criteria[0]
    return result.outcome, result.reason


@pytest.mark.parametrize(
    ("asked", "given", "outcome"),
    [
        ("", "1.0.0", ("met", None)),
        ("|1.0.0", "1.0.0", ("met", None)),
        ("|1.0", "1.0.0", ("met", None)),
        ("|1.0", "1.01", ("unknown", "unresolved-reference")),
        ("|2.0.0", "1.0.0", ("unknown", "unresolved-reference")),
        ("|2.0.0", None, ("unknown", "unresolved-reference")),
    ],
)
def test_no_other_version_stands_in(
    asked: str, given: str | None, outcome: tuple[str, str | None], tmp_path: Path
) -> None:
    outer = variable({"definitionCanonical": f"http://x.org/b{asked}"}) | {"id": "a"}
    inner = variable(DISEASE) | {"id": "b", "url": "http://x.org/b"} | ({"version": given} if given else {})
    assert first([outer, inner], [SICK], tmp_path) == outcome


def test_implicit_rules_need_a_person(tmp_path: Path) -> None:
    definition = variable(DISEASE) | {"implicitRules": "http://x.org/rules"}
    assert first([definition], [SICK], tmp_path) == ("unknown", "needs-review")


@pytest.mark.parametrize("element", ["_valueBoolean", "_valueInteger"])
def test_a_value_that_is_not_known_is_not_any_value(element: str, tmp_path: Path) -> None:
    reason = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    code = concept("2857-1", system=LOINC)
    definition = group({"code": code, element: {"extension": [reason]}})
    found = record("Observation", status="final", code=code, valueBoolean=False)
    assert first([definition], [found], tmp_path)[0] == "unknown"
