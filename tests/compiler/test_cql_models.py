"""Data models as files: what a ModelInfo says of types, labels, slices and extensions is what CQL sees, without code of ours."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.artifacts.models.modelinfo import read_model_info
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from tests.shared import shared

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
MODEL = f"""
<modelInfo {XSI} name="Lab" version="1.0" url="http://example.org/lab" targetUrl="http://hl7.org/fhir" patientClassName="Person">
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Resource"/>
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Person" baseType="Lab.Resource" target="Patient"
      identifier="http://hl7.org/fhir/StructureDefinition/Patient" retrievable="true">
    <element name="birthDate" elementType="System.Date" target="%value.value"/>
    <element name="religion" elementType="System.Concept"
        target="FHIRHelpers.ToConcept(%parent.extension[url='http://example.org/religion'].value)"/>
  </typeInfo>
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Part" target="Observation.component">
    <element name="value" elementType="System.Quantity" target="FHIRHelpers.ToQuantity(%value)"/>
  </typeInfo>
  <typeInfo xsi:type="ClassInfo" namespace="Lab" name="pressure" label="Blood Pressure of the Lab" baseType="Lab.Resource"
      target="Observation" identifier="http://example.org/pressure" retrievable="true" primaryCodePath="code">
    <element name="code" elementType="System.Concept" target="FHIRHelpers.ToConcept(%value)"/>
    <element name="Systolic" elementType="Lab.Part"
        target="%parent.component[code.coding.system='http://loinc.org',code.coding.code='8480-6']"/>
  </typeInfo>
</modelInfo>"""
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "birthDate": "1950-02-03",
    "extension": [
        {"url": "http://example.org/religion", "valueCodeableConcept": {"coding": [{"system": "s", "code": "c"}]}}
    ],
}


def component(system: str, code: str, value: int) -> dict[str, Any]:
    return {
        "code": {"coding": [{"system": system, "code": code}]},
        "valueQuantity": {"value": value, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"},
    }


PRESSURE: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o",
    "meta": {"profile": ["http://example.org/pressure"]},
    "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
    "component": [
        component("http://loinc.org", "8462-4", 80),
        component("http://other.org", "8480-6", 1),
        component("http://loinc.org", "8480-6", 130),
    ],
}


def value(expression: str, model: str = MODEL, resources: tuple[dict[str, Any], ...] = (PRESSURE,)) -> Any:
    """The value of an expression in a library that uses a model file."""
    text = f"library L\nusing Lab version '1.0'\ncontext Person\ndefine X: {expression}\n"
    loaded = LoadedLibrary(Compiler(model_infos=[read_model_info(model)]).compile(Source("L", text)))
    return loaded.evaluate("X", Patient(Run(NOW), PATIENT, (PATIENT, *resources)))


def test_patient_class_and_primitives() -> None:
    assert str(value("Person.birthDate")) == "1950-02-03"


def test_element_from_an_extension() -> None:
    assert value("Person.religion.codes[0].code") == "c"


def test_slice_whose_conditions_are_two_levels_deep() -> None:
    assert str(value("First([pressure]).Systolic.value")) == "130 'mm[Hg]'"


@pytest.mark.parametrize("name", ['"Blood Pressure of the Lab"', '"Lab.pressure"', 'Lab."pressure"', "pressure"])
def test_a_type_by_its_label_and_by_its_name_in_quotes(name: str) -> None:
    assert value(f"Count([{name}])") == 1


def test_a_profile_that_no_resource_claims_gives_none() -> None:
    assert value("Count([pressure])", resources=({**PRESSURE, "meta": {}},)) == 0


def test_a_renamed_property_and_a_new_type_need_no_code() -> None:
    altered = MODEL.replace('name="Systolic"', 'name="Upper"').replace('name="pressure"', 'name="bp"')
    assert str(value("First([bp]).Upper.value", altered)) == "130 'mm[Hg]'"
    with pytest.raises(DiagnosticError) as error:
        value("First([bp]).Systolic.value", altered)
    assert [d.code for d in error.value.diagnostics] == ["unknown-element"]


def test_qicore_altered_by_hand() -> None:
    text = shared("ecqm", "models", "qicore-modelinfo-6.0.0.xml").read_text("utf-8")
    text = (
        text.replace('name="QICore"', 'name="Mine"', 1)
        .replace('"QICore.', '"Mine.')
        .replace('namespace="QICore"', 'namespace="Mine"')
    )
    text = text.replace('<element name="authoredOn"', '<element name="ordered"')
    library = (
        "library L\nusing Mine version '6.0.0'\ncontext Patient\ndefine X: [MedicationRequest] M return M.ordered\n"
    )
    loaded = LoadedLibrary(Compiler(model_infos=[read_model_info(text)]).compile(Source("L", library)))
    request = {
        "resourceType": "MedicationRequest",
        "id": "m",
        "meta": {"profile": ["http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-medicationrequest"]},
        "authoredOn": "2026-01-02",
    }
    # the element of that name is FHIR's no more, so that there is nothing to read: a model has to say where it comes from
    assert loaded.evaluate("X", Patient(Run(NOW), PATIENT, (PATIENT, request))) == [None]


def library_value(define: str, *texts: str) -> Any:
    """A define of the last library, which may include those before it."""
    sources = {text.split()[1]: Source(text.split()[1], text) for text in texts}
    compiler = Compiler(lambda name, version: sources.get(name))
    loaded = LoadedLibrary(compiler.compile(list(sources.values())[-1]))
    return loaded.evaluate(define, Patient(Run(NOW), PATIENT, (PATIENT, PRESSURE)))


COMMON = """library Common
using FHIR version '4.0.1'
context Patient
define function Twice(x Integer): x * 2
define function Own(x Integer): x + Count([Observation])"""


def test_a_function_without_a_context_takes_that_of_its_caller() -> None:
    text = """library Main
using FHIR version '4.0.1'
include Common
define function Both(x Integer): Common.Twice(x) + Common.Own(x)
define function Fluent(x Integer): Both(x) + AgeInYears()
context Patient
define X: Fluent(3)"""
    assert library_value("X", COMMON, text) == 6 + 4 + 76


def test_a_function_that_asks_nothing_of_the_patient_works_without_one() -> None:
    text = "library Main\nusing FHIR version '4.0.1'\ninclude Common\ndefine X: Common.Twice(3)"
    assert library_value("X", COMMON, text) == 6


def test_a_define_without_a_context_cannot_ask_for_the_patient() -> None:
    text = "library Main\nusing FHIR version '4.0.1'\ninclude Common\ndefine X: Common.Own(3)"
    with pytest.raises(DiagnosticError) as error:
        library_value("X", COMMON, text)
    (found,) = error.value.diagnostics
    assert found.code == "context" and found.span is not None
    assert text[found.span.start : found.span.end] == "Common.Own(3)"
