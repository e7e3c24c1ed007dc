"""Instances of FHIR types in CQL: elements given as FHIR or as System values, and read again as FHIR's are."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.runtime.printing import text_of

HEAD = "using FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1'\ncontext Patient\n"
PATIENT = {"resourceType": "Patient", "id": "p"}


def value(expression: str) -> Any:
    loaded = LoadedLibrary(Compiler().compile(Source("x", f"{HEAD}define X: {expression}")))
    return loaded.evaluate("X", Patient(Run(), PATIENT, [PATIENT]))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("FHIR.decimal { value: 3.0 }", "3.0"),
        ("FHIR.Quantity { value: FHIR.decimal { value: 3.0 } }.value + 1.0", "4.0"),
        ("FHIR.Quantity { value: 3.0, code: 'mg' } = 3 'mg'", "true"),
        ("FHIRHelpers.ToQuantity(FHIR.Quantity { value: 3.0, unit: 'mg' })", "3.0 'mg'"),
        ("Patient { birthDate: @2000-01-01 }.birthDate + 1 year", "@2001-01-01"),
        ("FHIRHelpers.ToQuantity(Observation { value: 3 'mg' }.value as FHIR.Quantity)", "3 'mg'"),
        ("Observation { value: FHIR.Quantity { value: 3, code: 'g' } }.value is FHIR.Quantity", "true"),
        ("Observation { effective: Interval[@2020-01-01T00:00:00.0Z, null] }.effective is FHIR.Period", "true"),
        (
            "Observation { code: System.Concept { codes: { Code { code: 'x', system: 's' } } } }.code.coding.code",
            "{ 'x' }",
        ),
        ("Patient { name: { HumanName { given: { 'A', 'B' } } } }.name[0].given[1]", "'B'"),
        ("Patient { active: true, gender: null }.gender is null", "true"),
        ("Encounter { period: Period { start: @2020-01-01T00:00:00.0Z } } is Encounter", "true"),
        ("exists (({ Observation { status: 'final' }, Observation { status: 'x' } }) O where O.status = 'x')", "true"),
    ],
)
def test_instances_of_fhir_types(expression: str, expected: str) -> None:
    assert text_of(value(expression)) == expected


def test_a_resource_is_as_data_has_it() -> None:
    found = value("Observation { id: 'o', status: 'final', value: 3 'mg' }")
    assert found == {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "valueQuantity": {"value": 3, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
    }


@pytest.mark.parametrize(
    ("expression", "code", "at"),
    [
        ("Observation { valeu: 3 }", "unknown-element", "valeu"),
        ("FHIR.decimal { amount: 3.0 }", "unknown-element", "amount"),
        ("Patient { birthDate: 'soon' }", "type", "'soon'"),
        ("Patient { active: true, active: false }", "duplicate", "active"),
    ],
)
def test_what_does_not_fit_is_told(expression: str, code: str, at: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        value(expression)
    (found,) = error.value.diagnostics
    assert found.code == code and found.source is not None and found.span is not None
    assert found.source.text[found.span.start : found.span.end] == at
