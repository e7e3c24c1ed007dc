"""Values of observations against coded criteria: what is missing, of another type or only a bound is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import (
    LOINC,
    PATIENT,
    SNOMED,
    Json,
    amount,
    concept,
    group,
    outcome_of,
    record,
    result_of,
    reviewed,
    variable,
    verdict_on,
)

SMOKING = concept("72166-2", system=LOINC)
NEVER = concept("266919005")
PSA = concept("2857-1", system=LOINC)
REASONS = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def criterion(form: str, code: Json, exclude: bool = False, **value: Any) -> Json:
    """A type with a value, as an EvidenceVariable of R5 or a Group has it."""
    if form == "group":
        return group({"code": code, "exclude": exclude, **value})
    return variable({"definitionByTypeAndValue": {"type": code, **value}, "exclude": exclude})


@pytest.mark.parametrize("form", ["variable", "group"])
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ({}, "unknown"),
        ({"dataAbsentReason": concept("unknown", system=REASONS)}, "unknown"),
        ({"valueString": "never smoked"}, "unknown"),
        ({"valueBoolean": False}, "unknown"),
        ({"valueCodeableConcept": concept(text="never smoked")}, "unknown"),
        ({"valueCodeableConcept": concept("261665006")}, "unknown"),
        ({"valueCodeableConcept": concept("unknown", system=REASONS)}, "unknown"),
        ({"valueCodeableConcept": concept("449868002")}, "not met"),
        ({"valueCodeableConcept": NEVER}, "met"),
    ],
)
def test_a_coded_value_that_is_not_recorded_is_no_answer(
    value: Json, outcome: str, exclude: bool, form: str, tmp_path: Path
) -> None:
    definition = criterion(form, SMOKING, exclude, valueCodeableConcept=NEVER)
    records = [record("Observation", status="final", code=SMOKING, **value)]
    verdict = verdict_on(definition, records, tmp_path)
    assert verdict.criteria[0].outcome == outcome
    wanted = {"unknown": "undetermined", "met": "excluded" if exclude else "included"}
    assert verdict.verdict == wanted.get(outcome, "included" if exclude else "excluded")


def test_a_code_for_unknown_can_be_asked_for(tmp_path: Path) -> None:
    definition = criterion("variable", SMOKING, valueCodeableConcept=concept("261665006"))
    found = record("Observation", status="final", code=SMOKING, valueCodeableConcept=concept("261665006"))
    assert outcome_of(definition, [found], tmp_path) == "met"


@pytest.mark.parametrize(
    ("value", "outcome"),
    [({}, "unknown"), ({"valueCodeableConcept": NEVER}, "met"), ({"valueCodeableConcept": concept("1")}, "not met")],
)
def test_a_coded_value_of_a_component(value: Json, outcome: str, tmp_path: Path) -> None:
    panel = record(
        "Observation", status="final", code=concept("1-8", system=LOINC), component=[{"code": SMOKING, **value}]
    )
    definition = criterion("variable", SMOKING, valueCodeableConcept=NEVER)
    assert result_of(definition, [panel], tmp_path).outcome == outcome


@pytest.mark.parametrize("place", ["value", "component"])
@pytest.mark.parametrize(
    ("wanted", "bound", "outcome"),
    [
        (">=", "<", "unknown"),
        (">=", "> 4", "met"),
        (">=", "< 2", "not met"),
        (">=", "<= 3", "unknown"),
        (">=", ">= 3", "met"),
        (">", ">= 3", "unknown"),
        (">", "> 3", "met"),
        (">", "<= 3", "not met"),
        ("<=", "> 2", "unknown"),
        ("<=", "> 3", "not met"),
        ("<=", ">= 3", "unknown"),
        ("<=", "<= 3", "met"),
        ("<", "<= 3", "unknown"),
        ("<", "< 3", "met"),
        ("<", ">= 3", "not met"),
        ("", "> 2", "unknown"),
        ("", "< 3", "not met"),
        ("", "<= 3", "unknown"),
    ],
)
def test_a_bound_against_a_limit_without_a_unit(
    wanted: str, bound: str, outcome: str, place: str, tmp_path: Path
) -> None:
    sign, _, number = bound.partition(" ")
    value: Json = {"valueQuantity": amount(float(number or 5), "ng/mL", sign)}
    limit = {"value": 3, "comparator": wanted} if wanted else {"value": 3}
    code = PSA if place == "value" else concept("1-8", system=LOINC)
    content = value if place == "value" else {"component": [{"code": PSA, **value}]}
    found = record("Observation", status="final", code=code, **content)
    assert result_of(criterion("variable", PSA, valueQuantity=limit), [found], tmp_path).outcome == outcome


def _range(high: float, kind: str | None = None) -> Json:
    meaning = "http://terminology.hl7.org/CodeSystem/referencerange-meaning"
    return {"high": amount(high, "ng/mL")} | ({"type": concept(kind, system=meaning)} if kind else {})


@pytest.mark.parametrize(
    ("ranges", "outcome"),
    [
        ([_range(4)], "not met"),
        ([_range(10, "treatment"), _range(4, "normal")], "not met"),
        ([_range(10)], "met"),
        ([_range(10, "treatment")], "unknown"),
        ([_range(4), _range(10)], "unknown"),
    ],
)
def test_limits_of_normal_are_those_of_the_normal_range(ranges: list[Json], outcome: str, tmp_path: Path) -> None:
    offset = concept("UNL", system="http://terminology.hl7.org/CodeSystem/characteristic-offset")
    definition = criterion("variable", PSA, valueQuantity={"value": 2, "comparator": "<="}, offset=offset)
    found = record("Observation", status="final", code=PSA, valueQuantity=amount(15, "ng/mL"), referenceRange=ranges)
    assert result_of(definition, [found], tmp_path).outcome == outcome


@pytest.mark.parametrize("written", ["Male", "M", "männlich", ""])
def test_a_gender_that_fhir_does_not_have_is_no_answer(written: str, tmp_path: Path) -> None:
    definition = criterion("group", concept("263495000"), valueCodeableConcept=concept("248152002"))
    assert verdict_on(definition, [], tmp_path, patient={**PATIENT, "gender": written}).verdict == "undetermined"


@pytest.mark.parametrize("restriction", [{"method": [concept("1")]}, {"offset": concept("1")}])
def test_what_restricts_a_property_of_the_patient_needs_a_person(restriction: Json, tmp_path: Path) -> None:
    adults = {"code": concept("397669002"), "valueRange": {"low": amount(18, "a")}}
    reviewed(group({**adults, **restriction}), tmp_path)
    assert SNOMED in reviewed(group({**adults, **restriction}), tmp_path)
