"""In which records a coded concept is looked for: wherever one that means it may stand, and never a quiet no where it may mean something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compiler.forms.judging import (
    LOINC,
    SNOMED,
    SUBJECT,
    amount,
    concept,
    outcome_of,
    record,
    result_of,
    variable,
)

Json = dict[str, Any]
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
UNCERTAIN = "unknown: missing-value"


def of(code: str, display: str | None = None, system: str = SNOMED, **more: Any) -> Json:
    """A criterion that is a concept, with the display that tells by its tag what it is."""
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    return variable({"definitionCodeableConcept": {"coding": [coding]}, **more})


def encounter(**elements: Any) -> Json:
    return record("Encounter", status="finished", **{"class": {"system": ACT, "code": "IMP"}, **elements})


def allergy(**elements: Any) -> Json:
    return {"resourceType": "AllergyIntolerance", "id": "allergyintolerance", "patient": SUBJECT, **elements}


PENICILLIN = of("91936005", "Allergy to penicillin (finding)")


def test_an_allergy_is_found_among_the_allergies(tmp_path: Path) -> None:
    refuted = concept("refuted", system="http://terminology.hl7.org/CodeSystem/allergyintolerance-verification")
    for found, expected in (
        (allergy(code=concept("91936005")), "met"),
        (allergy(code=concept("91936005"), verificationStatus=refuted), "not met"),
        (allergy(code=concept("300916003")), "not met"),
        (allergy(code=concept(text="penicillin")), UNCERTAIN),
        (allergy(), UNCERTAIN),
    ):
        assert outcome_of(PENICILLIN, [found], tmp_path) == expected
    # an allergy in words says nothing of a diagnosis
    assert (
        outcome_of(of("22298006", "Myocardial infarction (disorder)"), [allergy(code={"text": "nuts"})], tmp_path)
        == "not met"
    )


def test_a_substance_to_which_there_is_an_allergy_is_not_a_drug_that_is_taken(tmp_path: Path) -> None:
    found = [allergy(code=concept("372687004"))]
    assert outcome_of(of("372687004", "Amoxicillin (substance)"), found, tmp_path) == "not met"
    assert outcome_of(of("372687004"), found, tmp_path) == UNCERTAIN


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_a_stay_is_found_by_its_class_and_its_type(version: str, tmp_path: Path) -> None:
    inpatient = {"system": ACT, "code": "IMP"}
    stay = encounter(**{"class": inpatient if version == "r4" else [{"coding": [inpatient]}]})
    visit = encounter(**{"class": stay["class"]}, type=[concept("185349003")])
    emergency = of("EMER", system=ACT)
    for definition, found, expected in (
        (of("IMP", system=ACT), stay, "met"),
        (emergency, stay, "not met"),
        (of("32485007", "Hospital admission (procedure)"), stay, "met"),
        (of("32485007"), stay, "met"),
        (of("185349003", "Encounter for check up (procedure)"), visit, "met"),
        (of("185349003"), visit, "met"),
        (of("185349003", "Encounter for check up (procedure)"), stay, "not met"),
        (of("IMP", system=ACT), stay | {"status": "planned"}, "not met"),
    ):
        assert outcome_of(definition, [found], tmp_path, version) == expected


def test_a_finding_as_the_value_of_an_observation_is_in_doubt(tmp_path: Path) -> None:
    smoker = of("77176002", "Smoker (finding)")
    asked = {"code": concept("72166-2", system=LOINC), "status": "final"}
    says = record("Observation", **asked, valueCodeableConcept=concept("77176002"))
    result = result_of(smoker, [says], tmp_path)
    assert (result.outcome, result.reason) == ("unknown", "missing-value")
    assert result.detail == (
        "Observation/observation: the concept is its value: what was asked tells whether the patient has it"
    )
    assert outcome_of(smoker, [says | {"valueCodeableConcept": concept("8517006")}], tmp_path) == "not met"
    assert outcome_of(smoker, [says | {"status": "cancelled"}], tmp_path) == "not met"
    assert outcome_of(smoker, [says, record("Condition", code=concept("77176002"))], tmp_path) == "met"


def test_a_vaccine_and_a_device_are_found_where_they_are_recorded(tmp_path: Path) -> None:
    vaccine = {"resourceType": "Immunization", "id": "i", "patient": SUBJECT, "status": "completed"}
    vaccine["vaccineCode"] = concept("1119349007")
    pacemaker = {"resourceType": "Device", "id": "d", "patient": SUBJECT, "type": concept("14106009")}
    assert outcome_of(of("1119349007", "SARS-CoV-2 mRNA vaccine (medicinal product)"), [vaccine], tmp_path) == "met"
    assert outcome_of(of("1119349007"), [vaccine], tmp_path) == "met"
    assert outcome_of(of("14106009"), [pacemaker], tmp_path) == "met"


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("urn:ietf:bcp:47", "en"),
        ("urn:oid:2.16.840.1.113883.6.238", "2106-3"),
        ("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "M"),
        ("http://hl7.org/fhir/condition-category", "problem"),
    ],
)
def test_codes_that_no_record_is_about_need_a_person(system: str, code: str, tmp_path: Path) -> None:
    assert outcome_of(of(code, system=system), [], tmp_path) == "unknown: needs-review"


@pytest.mark.parametrize(
    "coding", [{"display": "breast cancer"}, {"system": SNOMED}, {"system": SNOMED, "display": "x"}]
)
def test_a_coding_without_a_code_tells_no_more_than_words(coding: Json, tmp_path: Path) -> None:
    found = record("Condition", code={"coding": [coding]})
    assert outcome_of(of("254837009", "Breast cancer (disorder)"), [found], tmp_path) == UNCERTAIN


def test_an_order_that_names_no_drug_is_in_doubt(tmp_path: Path) -> None:
    order = record("MedicationRequest", status="active", intent="order")
    assert outcome_of(of("1191", system="http://www.nlm.nih.gov/research/umls/rxnorm"), [order], tmp_path) == UNCERTAIN


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (concept("1"), "met"),
        (concept("2"), "not met"),
        (concept(text="by hand"), UNCERTAIN),
        ({"coding": [{"system": SNOMED}]}, UNCERTAIN),
        (concept("1", system="http://hospital.example/methods"), UNCERTAIN),
        (None, UNCERTAIN),
    ],
)
def test_a_method_that_is_not_coded_is_in_doubt(method: Json | None, expected: str, tmp_path: Path) -> None:
    asked = {
        "type": concept("4548-4", system=LOINC),
        "method": [concept("1")],
        "valueQuantity": amount(5, "%", ">="),
    }
    found = record("Observation", code=asked["type"], status="final", valueQuantity=amount(6, "%"))
    if method is not None:
        found["method"] = method
    assert outcome_of(variable({"definitionByTypeAndValue": asked}), [found], tmp_path, "r4") == expected
