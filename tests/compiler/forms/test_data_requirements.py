"""Data requirements and exceptions: what a filter asks for and a record lacks is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import (
    LOINC,
    SNOMED,
    Json,
    amount,
    concept,
    group,
    outcome_of,
    record,
    reviewed,
    variable,
)

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ASPIRIN = concept("1191", system=RXNORM)
ICD = "http://hl7.org/fhir/sid/icd-10"


def required(kind: str, **content: Any) -> Json:
    """A characteristic that is a DataRequirement."""
    return variable({"definitionDataRequirement": {"type": kind, **content}})


def coded(path: str, value: Json) -> Json:
    """A code filter."""
    return {"path": path, "code": value["coding"]}


def order(version: str, by: str) -> list[Json]:
    """An order of aspirin, by a concept or by a reference to a Medication that is or is not among the data."""
    reference = {"reference": "Medication/m"}
    if version == "r5":
        drug: Json = {"medication": {"concept": ASPIRIN} if by == "concept" else {"reference": reference}}
    else:
        drug = {"medicationCodeableConcept": ASPIRIN} if by == "concept" else {"medicationReference": reference}
    found = [record("MedicationRequest", status="active", intent="order", **drug)]
    return found + ([{"resourceType": "Medication", "id": "m", "code": ASPIRIN}] if by == "reference" else [])


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
@pytest.mark.parametrize(
    ("by", "outcome"), [("concept", "met"), ("reference", "met"), ("nothing", "unknown: unresolved-reference")]
)
def test_a_drug_by_reference(by: str, outcome: str, version: str, tmp_path: Path) -> None:
    definition = required("MedicationRequest", codeFilter=[coded("medication", ASPIRIN)])
    assert outcome_of(definition, order(version, by), tmp_path, version) == outcome


@pytest.mark.parametrize(
    ("asked", "content", "outcome"),
    [
        (concept("C50", system=ICD), {"code": concept("C50.1", system=ICD)}, "met"),
        (concept("C50", system=ICD), {"code": concept("1")}, "unknown: other-code-system"),
        (concept("1", system="https://snomed.info/sct/"), {"code": concept("1")}, "met"),
        (concept("1"), {"code": concept("2")}, "not met"),
        (concept("1"), {"code": concept(text="cancer")}, "unknown: missing-value"),
        (concept("1"), {}, "unknown: missing-value"),
    ],
)
def test_the_code_of_a_record(asked: Json, content: Json, outcome: str, tmp_path: Path) -> None:
    definition = required("Condition", codeFilter=[coded("code", asked)])
    assert outcome_of(definition, [record("Condition", **content)], tmp_path) == outcome


@pytest.mark.parametrize(
    ("path", "content", "outcome"),
    [
        ("clinicalStatus", {}, "unknown: missing-value"),
        ("clinicalStatus", {"clinicalStatus": concept("x")}, "met"),
        ("clinicalStatus", {"clinicalStatus": concept("y")}, "not met"),
        ("category", {"category": [concept(text="x")]}, "unknown: missing-value"),
    ],
)
def test_any_other_coded_element(path: str, content: Json, outcome: str, tmp_path: Path) -> None:
    definition = required("Condition", codeFilter=[coded("code", concept("1")), coded(path, concept("x"))])
    assert outcome_of(definition, [record("Condition", code=concept("1"), **content)], tmp_path) == outcome


@pytest.mark.parametrize(
    ("date", "outcome"),
    [
        ({"effectiveDateTime": "2026-02-03T10:00:00Z"}, "met"),
        ({"effectiveDateTime": "2026-02-04"}, "not met"),
        ({"effectiveInstant": "2026-02-03T10:00:00Z"}, "met"),
        ({"effectivePeriod": {"start": "2026-01-02", "end": "2026-02-03"}}, "met"),
        ({"effectivePeriod": {"start": "2025-12-02", "end": "2026-02-03"}}, "unknown"),
        ({"effectivePeriod": {"start": "2025-11-02", "end": "2025-12-03"}}, "not met"),
        ({"effectivePeriod": {"start": "2026-01-02"}}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_dates_and_periods(date: Json, outcome: str, tmp_path: Path) -> None:
    period = {"start": "2026", "end": "2026-02-03"}
    definition = required("Observation", dateFilter=[{"path": "effective", "valuePeriod": period}])
    found = record("Observation", status="final", code=concept("1-8", system=LOINC), **date)
    assert outcome_of(definition, [found], tmp_path).split(":")[0] == outcome


def test_a_stay_within_a_period(tmp_path: Path) -> None:
    stay = record("Encounter", status="finished", period={"start": "2026-01-03", "end": "2026-01-04"})
    stay["class"] = {"code": "IMP"}
    definition = required(
        "Encounter", dateFilter=[{"path": "period", "valuePeriod": {"start": "2026", "end": "2026-01"}}]
    )
    assert outcome_of(definition, [stay], tmp_path) == "met"


@pytest.mark.parametrize(
    "content",
    [
        {"profile": ["http://hl7.org/fhir/StructureDefinition/bp"]},
        {"subjectCodeableConcept": concept("Practitioner", system="http://hl7.org/fhir/resource-types")},
        {"valueFilter": [{"path": "issued", "comparator": "gt", "valueDuration": amount(3, "d")}]},
    ],
)
def test_what_else_is_asked_for_needs_a_person(content: Json, tmp_path: Path) -> None:
    assert "data requirement" in reviewed(required("Observation", **content), tmp_path)


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ([(SNOMED, "363346000")], "unknown"),
        ([(SNOMED, "363346000"), (ICD, "C44.1")], "not met"),
        ([(SNOMED, "363346000"), (ICD, "C50.1")], "met"),
    ],
)
def test_an_exception_in_another_code_system(codes: list[tuple[str, str]], outcome: str, tmp_path: Path) -> None:
    kind = concept("404684003")
    cancer = {"code": kind, "valueCodeableConcept": concept("363346000")}
    skin = {"code": kind, "valueCodeableConcept": concept("C44", system=ICD), "exclude": True}
    found = record("Condition", code={"coding": [{"system": system, "code": code} for system, code in codes]})
    definition = group(cancer, skin, combinationMethod="except-subset")
    assert outcome_of(definition, [found], tmp_path).split(":")[0] == outcome
