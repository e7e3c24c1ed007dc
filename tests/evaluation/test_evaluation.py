"""Verdicts: what is unknown and why, rows in doubt, evidence and near misses, absence, references to drugs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.records import CodedConcept, Coding
from fhir_eligibility.compiler.criteria.rules import compile_code
from fhir_eligibility.compiler.forms.kinds import _TYPES_OF_KIND, selection, types_of_kind
from fhir_eligibility.evaluation.evaluator import combine

SUBJECT = {"reference": "Patient/p"}
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male"}
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
DRUG = {"coding": [{"system": RXNORM, "code": "860975"}]}
Resource = dict[str, Any]


def judge(
    characteristic: Resource | str, resources: list[Resource], folder: Path, version: str = "r4", **options: Any
) -> fhir_eligibility.Verdict:
    if isinstance(characteristic, str):
        characteristic = {"definitionExpression": {"language": "text/fhirpath", "expression": characteristic}}
    path = folder / "ev.json"
    path.write_text(json.dumps({"resourceType": "EvidenceVariable", "id": "e", "characteristic": [characteristic]}))
    criteria = fhir_eligibility.load_criteria(path, fhir_version=version)
    assert criteria.errors == ()
    patients = list(fhir_eligibility.compartments_of(resources, model=load_model(version)))
    (verdict,) = fhir_eligibility.screen(criteria, patients, now="2026-01-01", **options)
    return verdict


def observation(name: str, **more: Any) -> Resource:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "subject": SUBJECT,
        "code": {"text": "x"},
    } | more


def amount(value: float, unit: str = "ng/mL") -> Resource:
    return {"value": value, "system": "http://unitsofmeasure.org", "code": unit}


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
@pytest.mark.parametrize("kind", sorted(_TYPES_OF_KIND))
def test_every_kind_compiles_without_a_warning(kind: str, version: str) -> None:
    model = load_model(version)
    concept = CodedConcept(codings=(Coding(system="http://s.example", code="c"),))
    for name in types_of_kind(model, kind):
        _, diagnostics = compile_code(f"{selection(model, name, concept).rows}.exists()", model, name=name)
        assert diagnostics == ()


def test_drug_by_reference(tmp_path: Path) -> None:
    criterion = {"definitionByTypeAndValue": {"type": {"text": "Drug class"}, "valueCodeableConcept": DRUG}}
    request = {
        "resourceType": "MedicationRequest",
        "id": "r",
        "status": "active",
        "intent": "order",
        "subject": SUBJECT,
        "medicationReference": {"reference": "Medication/m"},
    }
    medication = {"resourceType": "Medication", "id": "m", "code": DRUG}
    assert judge(criterion, [PATIENT, request, medication], tmp_path).verdict == "included"
    unresolved = judge(criterion, [PATIENT, request], tmp_path)
    assert (unresolved.verdict, unresolved.criteria[0].reason) == ("undetermined", "unresolved-reference")
    assert judge(criterion, [PATIENT, request | {"intent": "plan"}, medication], tmp_path).verdict == "excluded"
    assert judge(criterion, [PATIENT], tmp_path).verdict == "excluded"
    absent = judge(criterion, [PATIENT], tmp_path, absent="unknown")
    assert (absent.verdict, absent.criteria[0].reason) == ("undetermined", "no-data")


def test_a_measurement_that_was_never_made(tmp_path: Path) -> None:
    code = {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]}
    value = {"value": 3, "comparator": ">=", "code": "ng/mL"}
    criterion = {"definitionByTypeAndValue": {"type": code, "valueQuantity": value}}
    other = observation("other", valueQuantity=amount(9))
    assert judge(criterion, [PATIENT, other], tmp_path).criteria[0].reason == "no-data"
    assert judge(criterion, [PATIENT, other], tmp_path, absent="not-met").verdict == "excluded"
    low = observation("low", code=code, valueQuantity=amount(2))
    found = judge(criterion, [PATIENT, other, low], tmp_path)
    assert found.verdict == "excluded"
    assert [(e.resource, e.role) for e in found.criteria[0].evidence] == [("Observation/low", "examined")]


def test_the_patient_resource_is_missing(tmp_path: Path) -> None:
    verdict = judge("Patient.gender = 'male' and Observation.exists()", [observation("o")], tmp_path)
    (criterion,) = verdict.criteria
    assert (verdict.patient, verdict.verdict, criterion.reason) == ("Patient/p", "undetermined", "no-data")
    assert criterion.detail == "there is no Patient for `Patient.gender`"


@pytest.mark.parametrize(
    ("expression", "known", "doubtful", "verdict"),
    [
        ("exists()", 0, 1, "undetermined"),
        ("exists()", 1, 1, "included"),
        ("exists().not()", 0, 2, "undetermined"),
        ("count() = 1", 1, 1, "undetermined"),
        ("count() = 1", 0, 3, "undetermined"),
        ("count() = 3", 0, 7, "undetermined"),
        ("count() = 9", 0, 7, "excluded"),
        ("count() >= 2", 2, 1, "included"),
    ],
)
def test_rows_in_doubt(expression: str, known: int, doubtful: int, verdict: str, tmp_path: Path) -> None:
    rows = [observation(f"k{i}", valueQuantity=amount(5)) for i in range(known)]
    rows += [observation(f"d{i}") for i in range(doubtful)]
    found = judge(f"Observation.where(value.ofType(Quantity) > 3 'ng/mL').{expression}", [PATIENT, *rows], tmp_path)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        ({"value": 5}, "missing-unit"),
        ({"value": 5, "unit": "spoons"}, "unit-not-comparable"),
        ({"value": 5, "system": "http://unitsofmeasure.org", "code": "[iU]/L"}, "unit-not-comparable"),
        ({"value": 5, "comparator": "<", "system": "http://unitsofmeasure.org", "code": "ng/mL"}, "not-computable"),
        ({"unit": "ng/mL"}, "missing-value"),
        (None, "missing-value"),
    ],
)
def test_why_a_value_does_not_tell(quantity: Resource | None, reason: str, tmp_path: Path) -> None:
    row = observation("o", **({"valueQuantity": quantity} if quantity is not None else {}))
    found = judge("Observation.exists(value.ofType(Quantity) >= 3 'ng/mL')", [PATIENT, row], tmp_path)
    assert (found.verdict, found.criteria[0].reason) == ("undetermined", reason)
    assert found.criteria[0].detail is not None and "Observation/o" in found.criteria[0].detail


def test_a_code_without_its_system_is_in_doubt(tmp_path: Path) -> None:
    row = observation("o", code={"coding": [{"code": "2857-1"}]})
    expression = "Observation.where(code.coding.exists(system = 'http://loinc.org' and code = '2857-1')).exists()"
    found = judge(expression, [PATIENT, row], tmp_path)
    assert (found.verdict, found.criteria[0].reason) == ("undetermined", "missing-value")


def test_evidence_of_the_patient(tmp_path: Path) -> None:
    (evidence,) = judge("Patient.gender = 'male'", [PATIENT], tmp_path).criteria[0].evidence
    assert (evidence.resource, evidence.value) == ("Patient/p", "gender male")


def test_malformed_data_is_an_error_of_that_patient(tmp_path: Path) -> None:
    found = judge("Patient.name.given.exists()", [{**PATIENT, "name": {"given": ["x"]}}], tmp_path)
    assert (found.verdict, found.criteria[0].reason) == ("undetermined", "error")
    assert found.criteria[0].detail is not None and "Patient/p" in found.criteria[0].detail


@pytest.mark.parametrize(
    ("expression", "more", "reason"),
    [
        ("effective <= @2024-01-15", {"effectiveDateTime": "2024-01"}, "imprecise-date"),
        ("effective = @2024-01-15", {"effectiveDateTime": "2024-01"}, "imprecise-date"),
        ("value > 3 'mg'", {"valueQuantity": {"value": 5, "unit": "spoon"}}, "unit-not-comparable"),
        ("value > 3 'mg'", {}, "missing-value"),
        ("status = 'final'", {"status": ["final"]}, "error"),
    ],
)
def test_choice_elements_and_malformed_text_give_their_reason(
    expression: str, more: Resource, reason: str, tmp_path: Path
) -> None:
    found = judge(f"Observation.exists({expression})", [PATIENT, observation("o", **more)], tmp_path)
    assert (found.verdict, found.criteria[0].reason) == ("undetermined", reason)


def test_a_malformed_code_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    row = observation("o", code={"coding": {"system": "http://loinc.org", "code": "2857-1"}})
    expression = "Observation.where(code.coding.exists(system = 'http://loinc.org' and code = '2857-1')).exists()"
    found = judge(expression, [PATIENT, row], tmp_path)
    assert (found.verdict, found.criteria[0].reason) == ("undetermined", "error")


def test_iif_on_an_unknown_condition(tmp_path: Path) -> None:
    assert judge("iif(Patient.active, true, false)", [PATIENT], tmp_path).verdict == "undetermined"
    assert judge("iif(Patient.active, true, true)", [PATIENT], tmp_path).verdict == "included"


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("Observation.where(valid).exists()", "undetermined"),
        ("Observation.where(valid).exists() or Patient.gender = 'male'", "included"),
        ("Observation.where(valid).count() = 150", "undetermined"),
        ("Observation.where(valid).count() >= 0", "included"),
        ("Observation.where(valid).count() mod 201 >= 0", "undetermined"),
    ],
)
def test_more_rows_in_doubt_than_ways_to_try(expression: str, verdict: str, tmp_path: Path) -> None:
    rows = [observation(f"d{i}") for i in range(200)]
    text = expression.replace("valid", "value.ofType(Quantity) > 3 'ng/mL'")
    assert judge(text, [PATIENT, *rows], tmp_path).verdict == verdict


def test_a_row_that_would_make_evaluation_fail_is_in_doubt(tmp_path: Path) -> None:
    rows = [observation("k", valueQuantity=amount(5)), observation("d", valueQuantity={"value": 1})]
    expression = "Observation.where(value.ofType(Quantity) > 3 'ng/mL').value.ofType(Quantity).value > 1"
    found = judge(expression, [PATIENT, *rows], tmp_path)
    assert (found.verdict, found.criteria[0].reason) == ("undetermined", "missing-unit")


@pytest.mark.parametrize("start", ["Bundle.entry.resource.ofType(Observation)", "Medication", "Organization"])
def test_a_type_without_a_patient_is_refused_and_not_quietly_empty(start: str) -> None:
    with pytest.raises(fhir_eligibility.DiagnosticError) as caught:
        compile_code(f"{start}.exists()", load_model("r4"), name="criterion")
    assert [d.code for d in caught.value.diagnostics] == ["not-in-compartment"]


def test_kleene_combinations() -> None:
    assert combine("all-of", None, [True, None, False]) is False
    assert combine("all-of", None, [True, None]) is None
    assert combine("any-of", None, [False, None, True]) is True
    assert combine("any-of", None, [False, None]) is None
    assert combine("at-least", 2, [True, None, False]) is None
    assert combine("at-least", 2, [True, False, False]) is False
    assert combine("at-most", 1, [True, None]) is None
    assert combine("at-most", 1, [True, True, None]) is False


def test_now_and_zone_are_recorded(tmp_path: Path) -> None:
    verdict = judge("now() > @2025-12-31T22:00:00+00:00", [PATIENT], tmp_path, timezone="Europe/Paris")
    assert verdict.verdict == "included"
    assert (verdict.evaluated.now, verdict.evaluated.timezone) == ("2026-01-01T00:00:00+01:00", "Europe/Paris")
