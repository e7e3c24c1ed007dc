"""What was not done, recorded against a whole value set: found by the value set, and by each of its codes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import EvaluationError, Source
from fhir_eligibility.artifacts.models.modelinfo import read_model_info
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.tracing import PatientEnvironment

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
QICORE = "http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-notDoneValueSet"
CQF = "http://hl7.org/fhir/StructureDefinition/cqf-notDoneValueSet"
MODEL = """
<modelInfo xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="Care" version="1.0" url="http://example.org/care"
    targetUrl="http://hl7.org/fhir" patientClassName="Person">
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="Resource"/>
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="Person" baseType="Care.Resource" target="Patient"
      identifier="http://hl7.org/fhir/StructureDefinition/Patient" retrievable="true"/>
  <typeInfo xsi:type="ClassInfo" namespace="Care" name="NotDone" baseType="Care.Resource" target="Communication"
      identifier="http://example.org/not-done" retrievable="true" primaryCodePath="topic">
    <element name="id" elementType="System.String" target="%value.value"/>
    <element name="topic" target="System.Concept:FHIRHelpers.ToConcept(%value);System.ValueSet:FHIRHelpers.ToValueSet(%parent.topic.extension[url='EXTENSION'].value.value)">
      <elementTypeSpecifier xsi:type="ChoiceTypeSpecifier">
        <choice xsi:type="NamedTypeSpecifier" namespace="System" name="Concept"/>
        <choice xsi:type="NamedTypeSpecifier" namespace="System" name="ValueSet"/>
      </elementTypeSpecifier>
    </element>
  </typeInfo>
</modelInfo>"""
PATIENT = {"resourceType": "Patient", "id": "p"}
COUNSEL, OTHER, SIZE = "https://example.org/vs/counsel", "https://example.org/vs/other", "https://example.org/vs/size"
VALUE_SETS = {COUNSEL: frozenset({("cs", "c1"), ("cs", "c2")}), OTHER: frozenset({("cs", "c9")})}
LIBRARY = f"""library L
using Care version '1.0'
codesystem "CS": 'cs'
code "C1": 'c1' from "CS"
code "C9": 'c9' from "CS"
valueset "Counsel": '{COUNSEL}'
context Person
define ByValueSet: [NotDone: "Counsel"] N return N.id
define ByCode: [NotDone: "C1"] N return N.id
define ByOther: [NotDone: "C9"] N return N.id
define ByEither: [NotDone: {{ "C9", "C1" }}] N return N.id
define ByUnknown: [NotDone: Code {{ code: 'c7', system: 'cs' }}] N return N.id
"""


def record(name: str, topic: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "Communication",
        "id": name,
        "meta": {"profile": ["http://example.org/not-done"]},
        "status": "not-done",
        "subject": {"reference": "Patient/p"},
        "topic": topic,
    }


def against(extension: str, url: str) -> dict[str, Any]:
    return {"extension": [{"url": extension, "valueCanonical": url}]}


def values(extension: str, *records: dict[str, Any]) -> tuple[LoadedLibrary, tuple[dict[str, Any], ...]]:
    model = read_model_info(MODEL.replace("EXTENSION", extension))
    return LoadedLibrary(Compiler(model_infos=[model]).compile(Source("L", LIBRARY))), (PATIENT, *records)


@pytest.mark.parametrize(("declared", "another"), [(QICORE, CQF), (CQF, QICORE)])
def test_by_value_set_and_by_code(declared: str, another: str) -> None:
    loaded, resources = values(
        declared,
        record("coded", {"coding": [{"system": "cs", "code": "c1"}]}),
        record("counsel", against(declared, COUNSEL)),
        record("version", against(declared, COUNSEL + "|2")),
        record("other", against(declared, OTHER)),
        record("another", against(another, COUNSEL)),
    )
    source = {**VALUE_SETS, COUNSEL + "|2": VALUE_SETS[COUNSEL]}
    patient = Patient(Run(NOW, value_sets=source), PATIENT, resources)
    found = {name: loaded.evaluate(name, patient) for name in ("ByValueSet", "ByCode", "ByOther", "ByEither")}
    assert found == {
        "ByValueSet": ["coded", "counsel", "version"],
        "ByCode": ["coded", "counsel", "version"],
        "ByOther": ["other"],
        "ByEither": ["coded", "counsel", "version", "other"],
    }
    assert loaded.evaluate("ByUnknown", patient) == []


def test_a_value_set_that_was_not_given_leaves_it_unknown() -> None:
    loaded, resources = values(QICORE, record("size", against(QICORE, SIZE)))
    with pytest.raises(EvaluationError) as error:
        loaded.evaluate("ByCode", Patient(Run(NOW, value_sets=VALUE_SETS), PATIENT, resources))
    assert (error.value.code, SIZE in error.value.message) == ("incomplete-valueset", True)


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        (against(QICORE, SIZE), "was not given"),
        (against(CQF, COUNSEL), "an extension of another version of the profile"),
    ],
)
def test_in_a_criterion_such_a_record_is_a_doubt(topic: dict[str, Any], why: str) -> None:
    loaded, resources = values(QICORE, record("one", topic))
    run = Run(NOW, value_sets=VALUE_SETS)
    held = {resource["resourceType"]: [resource] for resource in resources}
    environment = PatientEnvironment(Compartment(PATIENT, "Patient/p", held), now=NOW, run=run)
    trace = environment.begin()
    assert loaded.evaluate("ByCode", environment.for_cql()) == []
    (doubt,) = trace.doubts.values()
    assert why in str(doubt.why)
