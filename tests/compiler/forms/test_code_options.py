"""The extension codeOptions: a concept that names a value set is met by any code of it, and unknown where the value set was not given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.reasons import Reason

VALUE_SET = "http://example.org/ValueSet/prostate-cancer"
SNOMED = "http://snomed.info/sct"
OPTIONS = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/codeOptions", "valueCanonical": VALUE_SET}],
    "text": "Prostate cancer",
}
CONCEPT = {"definitionCodeableConcept": OPTIONS}
TYPED = {"definitionByTypeAndValue": {"type": {"text": "Diagnosis"}, "valueCodeableConcept": OPTIONS}}


def screened(
    folder: Path, characteristic: dict[str, Any], code: str | None, *, given: bool = True
) -> tuple[str, str | None]:
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [characteristic]}
    (folder / "ev.json").write_text(json.dumps(artifact))
    include = {"system": SNOMED, "concept": [{"code": "254900004"}, {"code": "399068003"}]}
    sets = folder / "sets"
    sets.mkdir()
    if given:
        value_set = {
            "resourceType": "ValueSet",
            "url": VALUE_SET,
            "status": "active",
            "compose": {"include": [include]},
        }
        (sets / "vs.json").write_text(json.dumps(value_set))
    resources: list[dict[str, Any]] = [{"resourceType": "Patient", "id": "p"}]
    if code is not None:
        clinical = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
        condition = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}}
        coded = {"clinicalStatus": {"coding": [clinical]}, "code": {"coding": [{"system": SNOMED, "code": code}]}}
        resources.append({**condition, **coded})
    data = folder / "data"
    data.mkdir()
    (data / "b.json").write_text(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]})
    )
    criteria = fhir_eligibility.load_criteria(folder / "ev.json", valuesets=[sets], on_error="keep")
    (verdict,) = fhir_eligibility.screen(criteria, data, now="2026-06-01")
    (criterion,) = verdict.criteria
    return criterion.outcome, criterion.reason


@pytest.mark.parametrize("characteristic", [CONCEPT, TYPED], ids=["concept", "type and value"])
@pytest.mark.parametrize(
    ("code", "outcome"), [("254900004", "met"), ("399068003", "met"), ("1", "not met"), (None, "not met")]
)
def test_any_code_of_the_value_set_counts(
    characteristic: dict[str, Any], code: str | None, outcome: str, tmp_path: Path
) -> None:
    assert screened(tmp_path, characteristic, code) == (outcome, None)


@pytest.mark.parametrize("characteristic", [CONCEPT, TYPED], ids=["concept", "type and value"])
def test_without_the_value_set_it_is_unknown(characteristic: dict[str, Any], tmp_path: Path) -> None:
    assert screened(tmp_path, characteristic, "254900004", given=False) == ("unknown", Reason.MISSING_VALUESET)
