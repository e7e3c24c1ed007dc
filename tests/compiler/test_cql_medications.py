"""A retrieve of medication orders by code, where the code stands in a Medication that the order refers to."""

from __future__ import annotations

import json
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.compiler.criteria.cql import data_requirements
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.runners.screening.criteria import load_criteria

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LIBRARY = """library L
using FHIR version '{version}'
include FHIRHelpers version '{version}'
codesystem "RxNorm": 'http://www.nlm.nih.gov/research/umls/rxnorm'
code "drug": '1' from "RxNorm"
context Patient
define Plain: [MedicationRequest: "drug"] M return M.id
define Compared: [MedicationRequest: medication ~ "drug"] M return M.id
define Given: exists [MedicationRequest: "drug"]
"""


def medication(name: str, code: str) -> dict[str, Any]:
    return {"resourceType": "Medication", "id": name, "code": {"coding": [{"system": RXNORM, "code": code}]}}


def request(name: str, **medication_: Any) -> dict[str, Any]:
    subject = {"reference": "Patient/p"}
    return {"resourceType": "MedicationRequest", "id": name, "subject": subject, "status": "active", **medication_}


PATIENT = {"resourceType": "Patient", "id": "p"}
R4 = (
    PATIENT,
    medication("a", "1"),
    medication("b", "2"),
    request("coded", medicationCodeableConcept={"coding": [{"system": RXNORM, "code": "1"}]}),
    request("other", medicationCodeableConcept={"coding": [{"system": RXNORM, "code": "2"}]}),
    request("referring", medicationReference={"reference": "Medication/a"}),
    request("to-another", medicationReference={"reference": "Medication/b"}),
    request("within", contained=[medication("c", "1")], medicationReference={"reference": "#c"}),
    request("lost", medicationReference={"reference": "Medication/gone"}),
)
R5 = (
    PATIENT,
    medication("a", "1"),
    request("coded", medication={"concept": {"coding": [{"system": RXNORM, "code": "1"}]}}),
    request("referring", medication={"reference": {"reference": "Medication/a"}}),
    request("other", medication={"concept": {"coding": [{"system": RXNORM, "code": "2"}]}}),
)


def names(define: str, version: str, resources: tuple[dict[str, Any], ...]) -> Any:
    loaded = LoadedLibrary(Compiler().compile(Source("L", LIBRARY.format(version=version))))
    return loaded.evaluate(define, Patient(Run(), PATIENT, resources))


@pytest.mark.parametrize(("define", "expected"), [("Plain", ["coded", "referring", "within"]), ("Compared", ["coded"])])
def test_orders_that_refer_to_a_medication(define: str, expected: list[str]) -> None:
    assert names(define, "4.0.1", R4) == expected


def test_orders_of_r5_hold_a_concept_or_a_reference() -> None:
    assert names("Plain", "5.0.0", R5) == ["coded", "referring"]


def test_without_fhirhelpers_only_codes_count() -> None:
    text = LIBRARY.format(version="4.0.1").replace("include FHIRHelpers version '4.0.1'\n", "")
    loaded = LoadedLibrary(Compiler().compile(Source("L", text)))
    assert loaded.evaluate("Plain", Patient(Run(), PATIENT, R4)) == ["coded"]


def test_requirements_hold_the_medications() -> None:
    compiled = Compiler().compile(Source("L", LIBRARY.format(version="4.0.1")))
    found = data_requirements(compiled, ["Given"])
    assert found["Medication"].unfiltered and found["MedicationRequest"].unfiltered


def screened(tmp_path: Any, *resources: dict[str, Any]) -> Any:
    """The verdict on a patient with some records, by the criterion in CQL that they were given the drug."""
    (tmp_path / "L.cql").write_text(LIBRARY.format(version="4.0.1"))
    (tmp_path / "ev.json").write_text(
        '{"resourceType": "EvidenceVariable", "id": "e", "status": "active", "characteristic": [{"definitionExpression": '
        '{"language": "text/cql-identifier", "expression": "Given", "reference": "L"}}]}'
    )
    data = tmp_path / "data"
    data.mkdir()
    entries = [{"resource": resource} for resource in resources]
    (data / "p.json").write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    (verdict,) = fhir_eligibility.screen(load_criteria(tmp_path / "ev.json", libraries=[tmp_path / "L.cql"]), data)
    return verdict


def test_screening_reads_the_medications(tmp_path: Any) -> None:
    assert screened(tmp_path, PATIENT, medication("a", "1"), R4[5]).verdict == "included"


def test_a_medication_that_is_not_at_hand_leaves_the_patient_undetermined(tmp_path: Any) -> None:
    verdict = screened(tmp_path, PATIENT, R4[8])
    (criterion,) = verdict.criteria
    assert (verdict.verdict, criterion.reason) == ("undetermined", "unresolved-reference")
    assert criterion.detail == "MedicationRequest/lost: its code stands in Medication/gone, which is not among the data"
