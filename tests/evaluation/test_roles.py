"""What evidence is to a criterion: `met` only where the criterion is met, `found` where it was found and decides against, `examined` otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fhir_eligibility

SYSTEM = "http://snomed.info/sct"
PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01", "gender": "male"}


def condition(name: str, code: str) -> dict[str, object]:
    return {
        "resourceType": "Condition",
        "id": name,
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "code": {"coding": [{"system": SYSTEM, "code": code}]},
        "subject": {"reference": "Patient/p"},
    }


def roles(
    expression: str, folder: Path, *resources: dict[str, object], exclude: bool = False
) -> tuple[str, dict[str, str]]:
    """The outcome of a criterion and the role of each resource in its evidence."""
    characteristic = {
        "exclude": exclude,
        "definitionExpression": {"language": "text/fhirpath", "expression": expression},
    }
    artifact = {"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [characteristic]}
    (folder / "ev.json").write_text(json.dumps(artifact))
    data = folder / "data"
    data.mkdir()
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in (PATIENT, *resources)]}
    (data / "b.json").write_text(json.dumps(bundle))
    (verdict,) = fhir_eligibility.screen(fhir_eligibility.load_criteria(folder / "ev.json"), data, now="2026-06-01")
    (criterion,) = verdict.criteria
    return criterion.outcome, {one.resource: one.role for one in criterion.evidence}


WANTED = condition("wanted", "1")
OTHER = condition("other", "2")
BY_CODE = "Condition.where(code.coding.where(code = '1').exists())"


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    ("expression", "outcome", "expected"),
    [
        (f"{BY_CODE}.exists()", "met", {"Condition/wanted": "met"}),
        (f"{BY_CODE}.empty()", "not met", {"Condition/wanted": "found"}),
        (f"{BY_CODE}.count() >= 2", "not met", {"Condition/wanted": "found"}),
        (f"{BY_CODE}.count() <= 1", "met", {"Condition/wanted": "met"}),
        (f"{BY_CODE}.where(onset.ofType(dateTime) > @2020).exists()", "unknown", {"Condition/wanted": "found"}),
        ("Patient.birthDate <= @1960-01-01", "met", {"Patient/p": "met"}),
        ("Patient.birthDate > @1960-01-01", "not met", {"Patient/p": "examined"}),
    ],
)
def test_roles_say_what_a_record_is_to_the_criterion(
    expression: str, outcome: str, expected: dict[str, str], exclude: bool, tmp_path: Path
) -> None:
    found = roles(expression, tmp_path, WANTED, OTHER, exclude=exclude)
    assert (found[0], {name: role for name, role in found[1].items() if name != "Condition/other"}) == (
        outcome,
        expected,
    )
