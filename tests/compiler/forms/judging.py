"""Small definitions and patients through the public interface: what a criterion says of a patient, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.evaluation.verdict import CriterionResult, Verdict

Json = dict[str, Any]
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
SUBJECT = {"reference": "Patient/p"}
PATIENT: Json = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1970-05-05"}
NOW = "2026-03-01"
UCUM = "http://unitsofmeasure.org"


def concept(*codes: str, system: str = SNOMED, text: str | None = None) -> Json:
    """A CodeableConcept of codes of one system."""
    found: Json = {"coding": [{"system": system, "code": code} for code in codes]} if codes else {}
    return found | ({"text": text} if text is not None else {})


def amount(value: float, unit: str, comparator: str | None = None) -> Json:
    """A Quantity in UCUM."""
    found: Json = {"value": value, "system": UCUM, "code": unit, "unit": unit}
    return found | ({"comparator": comparator} if comparator else {})


def record(kind: str, **elements: Any) -> Json:
    """A resource of the patient; its id is its type in small letters unless given."""
    return {"resourceType": kind, "id": kind.lower(), "subject": SUBJECT} | elements


def variable(*characteristics: Json) -> Json:
    """An EvidenceVariable."""
    return {"resourceType": "EvidenceVariable", "id": "e", "characteristic": list(characteristics)}


def group(*characteristics: Json, **elements: Any) -> Json:
    """A Group; each characteristic is an inclusion unless it says otherwise."""
    found = [{"exclude": False} | one for one in characteristics]
    return {"resourceType": "Group", "id": "g", "type": "person", "actual": False, "characteristic": found} | elements


def loaded(definition: Json, folder: Path, version: str = "r4", **options: Any) -> fhir_eligibility.Criteria:
    """Criteria of a definition that stands in a file."""
    path = folder / "definition.json"
    path.write_text(json.dumps(definition), encoding="utf-8")
    return fhir_eligibility.load_criteria(path, fhir_version=version, **{"on_error": "keep", **options})


def verdict_on(
    definition: Json, records: list[Json], folder: Path, version: str = "r4", patient: Json = PATIENT, **options: Any
) -> Verdict:
    """The verdict on one patient with some records."""
    criteria = loaded(definition, folder, version, **options)
    assert criteria.errors == ()
    data = list(fhir_eligibility.compartments_of([patient, *records], model=load_model(version)))
    (verdict,) = fhir_eligibility.screen(criteria, data, now=NOW)
    return verdict


def result_of(
    definition: Json, records: list[Json], folder: Path, version: str = "r4", **options: Any
) -> CriterionResult:
    """What the only criterion says."""
    (result,) = verdict_on(definition, records, folder, version, **options).criteria
    return result


def outcome_of(definition: Json, records: list[Json], folder: Path, version: str = "r4", **options: Any) -> str:
    """Outcome of the only criterion; with its reason where it is unknown."""
    result = result_of(definition, records, folder, version, **options)
    return result.outcome if result.reason is None else f"{result.outcome}: {result.reason}"


def reviewed(definition: Json, folder: Path, version: str = "r4", **options: Any) -> str:
    """Why the only criterion needs a person, whoever the patient is."""
    ((rule,),) = (rules.rules for rules in loaded(definition, folder, version, **options).rules)
    assert rule.code is None
    assert rule.reason == "needs-review"
    return rule.detail or ""
