"""Records of other code systems than a criterion asks for do not decide it; known spellings of one system are one; references that lead nowhere are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.values.code_systems import canonical, check_digit_is_wrong, label, meant, spellings
from fhir_eligibility.evaluation.verdict import CriterionResult

NOW = "2026-03-01T00:00:00Z"
SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
ICD, ATC, RXNORM = (
    "http://hl7.org/fhir/sid/icd-10",
    "http://www.whocc.no/atc",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
)
PROSTATE = "399068003"
SUBJECT = {"subject": {"reference": "Patient/p"}}


def concept(*codings: tuple[str, str], text: str | None = None, display: str | None = None) -> dict[str, Any]:
    listed = [{"system": system, "code": code, **({"display": display} if display else {})} for system, code in codings]
    return {**({"coding": listed} if listed else {}), **({"text": text} if text else {})}


def condition(name: str, code: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": name, "code": code, **SUBJECT, **more}


def criteria_of(folder: Path, **characteristic: Any) -> fhir_eligibility.Criteria:
    variable = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "url": "http://example.org/ev",
        "status": "active",
        "characteristic": [{"linkId": "c", **characteristic}],
    }
    (folder / "criteria.json").write_text(json.dumps(variable))
    rules = fhir_eligibility.load_criteria(folder / "criteria.json", fhir_version="r4")
    assert not rules.errors, rules.errors
    return rules


def screened(rules: fhir_eligibility.Criteria, folder: Path, *resources: dict[str, Any]) -> CriterionResult:
    """The result of the one criterion; from a bundle and from NDJSON it must be the same."""
    everything = [{"resourceType": "Patient", "id": "p"}, *resources]
    bundle, lines = folder / "data.json", folder / "data.ndjson"
    entries = [{"resource": one} for one in everything]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    lines.write_text("".join(json.dumps(one) + "\n" for one in everything))
    (first,), (second,) = (
        fhir_eligibility.screen(rules, bundle, now=NOW),
        fhir_eligibility.screen(rules, lines, now=NOW),
    )
    (in_memory,) = fhir_eligibility.screen(rules, fhir_eligibility.compartments_of(everything), now=NOW)
    found = [verdict.criteria[0] for verdict in (first, second, in_memory)]
    assert len({(one.outcome, one.reason, one.detail) for one in found}) == 1
    return found[0]


def test_a_condition_of_another_code_system_leaves_a_criterion_unknown(tmp_path: Path) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((SNOMED, PROSTATE)), exclude=True)
    found = screened(rules, tmp_path, condition("x", concept((ICD, "C61"))))
    assert (found.outcome, found.reason) == ("unknown", "other-code-system")
    assert found.detail == "Condition/x has codes of ICD-10 only; the criterion asks for SNOMED CT"


@pytest.mark.parametrize(
    ("others", "outcome"),
    [
        ([condition("y", concept((SNOMED, "44054006")))], "not met"),
        ([condition("y", concept((SNOMED, PROSTATE)))], "met"),
        ([condition("y", concept((ICD, "E11"), (SNOMED, "44054006")))], "not met"),
        ([condition("y", concept((ICD, "E11"), ("https://snomed.info/sct", "44054006")))], "not met"),
        ([], "unknown"),
    ],
)
def test_records_of_the_system_decide(tmp_path: Path, others: list[dict[str, Any]], outcome: str) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((SNOMED, PROSTATE)))
    assert screened(rules, tmp_path, condition("x", concept((ICD, "C61"))), *others).outcome == outcome


def test_no_record_of_the_kind_is_no_record_of_another_system(tmp_path: Path) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((SNOMED, PROSTATE)))
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "code": concept((LOINC, "2857-1"))}
    assert screened(rules, tmp_path, {**observation, **SUBJECT}).outcome == "not met"


def test_a_refuted_record_does_not_count_in_any_system(tmp_path: Path) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((SNOMED, PROSTATE)))
    refuted = {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    assert screened(rules, tmp_path, condition("x", concept((ICD, "C61")), **refuted)).outcome == "not met"


def test_a_record_that_is_text_only_is_named_with_its_text(tmp_path: Path) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((SNOMED, PROSTATE)))
    found = screened(rules, tmp_path, condition("x", concept(text="carcinoma of the prostate")))
    assert (found.outcome, found.reason) == ("unknown", "missing-value")
    assert "Condition/x" in str(found.detail) and "carcinoma of the prostate" in str(found.detail)


@pytest.mark.parametrize(
    ("wanted", "recorded", "outcome"),
    [
        ((ATC, "C09AA05"), (RXNORM, "35296"), "unknown"),
        ((ATC, "C09AA05"), (ATC, "C09AA04"), "not met"),
        ((ATC, "C09A"), (RXNORM, "35296"), "unknown"),
    ],
)
def test_drugs_likewise(tmp_path: Path, wanted: tuple[str, str], recorded: tuple[str, str], outcome: str) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept(wanted))
    drug = {"resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order", **SUBJECT}
    assert screened(rules, tmp_path, {**drug, "medicationCodeableConcept": concept(recorded)}).outcome == outcome
    # an order that names no drug at all tells as little as a diagnosis without a code
    assert screened(rules, tmp_path, {**drug, "doNotPerform": False}).outcome == "unknown"
    assert screened(rules, tmp_path, {**drug, "status": "cancelled"}).outcome == "not met"


SMOKING = {
    "definitionByTypeAndValue": {
        "type": concept((LOINC, "72166-2")),
        "valueCodeableConcept": concept((LOINC, "LA18978-9")),
    }
}


@pytest.mark.parametrize(
    ("value", "outcome", "reason"),
    [
        (concept((LOINC, "LA18978-9")), "met", None),
        (concept((LOINC, "LA18976-3")), "not met", None),
        (concept((SNOMED, "266919005")), "unknown", "other-code-system"),
        (concept((SNOMED, "266919005"), (LOINC, "LA18976-3")), "not met", None),
        (concept(text="never"), "unknown", "missing-value"),
    ],
)
def test_an_answer_of_another_code_system_does_not_decide(
    tmp_path: Path, value: dict[str, Any], outcome: str, reason: str | None
) -> None:
    rules = criteria_of(tmp_path, **SMOKING, exclude=True)
    smoking = {"resourceType": "Observation", "id": "o", "status": "final", "code": concept((LOINC, "72166-2"))}
    found = screened(rules, tmp_path, {**smoking, **SUBJECT, "valueCodeableConcept": value})
    assert (found.outcome, found.reason) == (outcome, reason)
    if reason is not None:
        assert "Observation/o" in str(found.detail) and "LOINC" in str(found.detail)


@pytest.mark.parametrize(
    "spelling",
    ["https://snomed.info/sct", "http://snomed.info/sct/", "urn:oid:2.16.840.1.113883.6.96", "2.16.840.1.113883.6.96"],
)
def test_a_code_system_is_the_same_however_it_is_spelt(tmp_path: Path, spelling: str) -> None:
    assert canonical(spelling) == SNOMED and spelling in spellings(SNOMED)
    for wanted, recorded in ((SNOMED, spelling), (spelling, SNOMED), (spelling, spelling)):
        rules = criteria_of(tmp_path, definitionCodeableConcept=concept((wanted, PROSTATE)))
        assert screened(rules, tmp_path, condition("x", concept((recorded, PROSTATE)))).outcome == "met"
        assert screened(rules, tmp_path, condition("x", concept((recorded, "44054006")))).outcome == "not met"


@pytest.mark.parametrize(
    ("spelling", "system", "code", "recorded"),
    [
        ("urn:oid:2.16.840.1.113883.6.3", ICD, "I21", "I21.4"),
        ("https://www.whocc.no/atc/", ATC, "C09A", "C09AA05"),
        ("urn:oid:2.16.840.1.113883.6.88", RXNORM, "35296", "35296"),
    ],
)
def test_spellings_hold_for_classifications_and_drugs(
    tmp_path: Path, spelling: str, system: str, code: str, recorded: str
) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((system, code)))
    drug = {"resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order", **SUBJECT}
    one = (
        condition("x", concept((spelling, recorded)))
        if system == ICD
        else {**drug, "medicationCodeableConcept": concept((spelling, recorded))}
    )
    assert screened(rules, tmp_path, one).outcome == "met"


def test_authors_expressions_mean_what_they_write(tmp_path: Path) -> None:
    text = f"Condition.where(code.coding.exists(system = '{SNOMED}' and code = '{PROSTATE}')).exists()"
    expression = {"language": "text/fhirpath", "expression": text}
    rules = criteria_of(tmp_path, definitionExpression=expression)
    found = screened(rules, tmp_path, condition("x", concept(("https://snomed.info/sct", PROSTATE))))
    assert found.outcome == "not met"


DRUG_BY_REFERENCE = {
    "resourceType": "MedicationRequest",
    "id": "m1",
    "status": "active",
    "intent": "order",
    **SUBJECT,
    "medicationReference": {"reference": "Medication/not-exported"},
}


@pytest.mark.parametrize("display", [None, "Malignant tumor of prostate (disorder)"])
def test_a_medication_that_is_not_there_does_not_cloud_a_diagnosis(tmp_path: Path, display: str | None) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((SNOMED, PROSTATE), display=display))
    other = condition("x", concept((SNOMED, "44054006")))
    assert screened(rules, tmp_path, DRUG_BY_REFERENCE, other).outcome == "not met"
    assert screened(rules, tmp_path, DRUG_BY_REFERENCE).outcome == "not met"


@pytest.mark.parametrize(
    "wanted",
    [
        {"definitionCodeableConcept": concept((ATC, "C09AA05"))},
        {"definitionCodeableConcept": concept((SNOMED, "386872004"), display="Ramipril (substance)")},
        {
            "definitionByTypeAndValue": {
                "type": concept((SNOMED, "18629005")),
                "valueCodeableConcept": concept((SNOMED, "386872004")),
            }
        },
    ],
)
def test_a_drug_is_unknown_where_the_medication_is_not_there(tmp_path: Path, wanted: dict[str, Any]) -> None:
    rules = criteria_of(tmp_path, **wanted)
    found = screened(rules, tmp_path, DRUG_BY_REFERENCE)
    assert (found.outcome, found.reason) == ("unknown", "unresolved-reference")
    assert found.detail == (
        "MedicationRequest/m1 refers to Medication/not-exported, which is not among the data: what it is cannot be told"
    )


def test_medications_by_reference_are_found_while_data_is_read_a_patient_at_a_time(tmp_path: Path) -> None:
    rules = criteria_of(tmp_path, definitionCodeableConcept=concept((ATC, "C09AA05")))
    medication = {"resourceType": "Medication", "id": "not-exported", "code": concept((ATC, "C09AA05"))}
    assert screened(rules, tmp_path, medication, DRUG_BY_REFERENCE).outcome == "met"
    contained = {
        **DRUG_BY_REFERENCE,
        "contained": [{**medication, "id": "inside"}],
        "medicationReference": {"reference": "#inside"},
    }
    assert screened(rules, tmp_path, contained).outcome == "met"


def test_names_and_check_digits_of_code_systems() -> None:
    assert label("urn:oid:2.16.840.1.113883.6.1") == "LOINC" and label("http://example.org/x") == "http://example.org/x"
    assert meant("http://snomed.info/stc") == SNOMED and meant("SNOMED-CT") == SNOMED and meant("loinc") == LOINC
    assert meant("http://hospital.example/codes") is None
    for code in ("2857-1", "4548-4", "718-7", "LA18978-9"):
        assert not check_digit_is_wrong(LOINC, code)
    for code in ("2857-2", "2857", "4548-44", "PSA"):
        assert check_digit_is_wrong(LOINC, code)
    for code in ("363346000", "254837009", "373067005", "22298006", "900000000000207008"):
        assert not check_digit_is_wrong("urn:oid:2.16.840.1.113883.6.96", code)
    for code in ("363346001", "254837090", "545837009", "12", "C61", "0123456"):
        assert check_digit_is_wrong(SNOMED, code)
    assert not check_digit_is_wrong(ICD, "anything")
