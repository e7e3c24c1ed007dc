"""What records a coded criterion is met by: those that affirm it, of a status that counts, in the place where they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from tests.compiler.forms.judging import (
    LOINC,
    NOW,
    PATIENT,
    SNOMED,
    SUBJECT,
    amount,
    concept,
    group,
    loaded,
    outcome_of,
    record,
    reviewed,
    variable,
)

Json = dict[str, Any]
MI = concept("22298006")
ALONE = variable({"definitionCodeableConcept": MI})
BY_TEXT = group({"code": {"text": "Defined by CodeableConcept"}, "valueCodeableConcept": MI})
OBSERVED = group({"code": concept("Observation", system="http://hl7.org/fhir/fhir-types"), "valueCodeableConcept": MI})
V2 = "http://terminology.hl7.org/CodeSystem/v2-0136"
NULL = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


@pytest.mark.parametrize("definition", [ALONE, BY_TEXT, OBSERVED], ids=["concept", "by text", "observation"])
@pytest.mark.parametrize("version", ["r4", "r5"])
def test_an_observation_of_a_concept_affirms_it(definition: Json, version: str, tmp_path: Path) -> None:
    open_answer = "unknown: missing-value"
    for value, outcome in (
        ({}, "met"),
        ({"valueBoolean": True}, "met"),
        ({"valueBoolean": False}, "not met"),
        ({"valueCodeableConcept": concept("373066001")}, "met"),
        ({"valueCodeableConcept": concept("373067005")}, "not met"),
        ({"valueCodeableConcept": concept("260385009")}, "not met"),
        ({"valueCodeableConcept": concept("2667000")}, "not met"),
        ({"valueCodeableConcept": concept("LA32-8", system=LOINC)}, "not met"),
        ({"valueCodeableConcept": concept("N", system=V2)}, "not met"),
        ({"valueCodeableConcept": concept("Y", system=V2)}, "met"),
        ({"valueCodeableConcept": concept("261665006")}, open_answer),
        ({"valueCodeableConcept": concept("UNK", system=NULL)}, open_answer),
        ({"valueCodeableConcept": {"text": "No"}}, "not met"),
        ({"valueString": "Negative"}, "not met"),
        ({"valueString": "Yes"}, "met"),
        ({"valueString": "seen by Dr. Who"}, open_answer),
        ({"valueQuantity": amount(3, "ng/mL")}, "met"),
        ({"valueInteger": 3}, "met"),
        ({"dataAbsentReason": concept("unknown", system=ABSENT)}, open_answer),
    ):
        observed = record("Observation", status="final", code=MI, **value)
        assert outcome_of(definition, [observed], tmp_path, version) == outcome, value


def test_one_record_that_affirms_is_enough(tmp_path: Path) -> None:
    denied = record("Observation", id="o1", status="final", code=MI, valueBoolean=False)
    assert outcome_of(ALONE, [denied, record("Condition", code=MI)], tmp_path) == "met"
    assert outcome_of(ALONE, [denied, denied | {"id": "o2", "valueBoolean": True}], tmp_path) == "met"


def coded(code: str, system: str) -> Json:
    return {"coding": [{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}]}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (None, "met"),
        ("confirmed", "met"),
        ("refuted", "not met"),
        ("entered-in-error", "not met"),
        ("provisional", "unknown: missing-value"),
        ("differential", "unknown: missing-value"),
        ("unconfirmed", "unknown: missing-value"),
    ],
)
def test_a_diagnosis_is_as_sure_as_it_says(status: str | None, outcome: str, tmp_path: Path) -> None:
    more = {} if status is None else {"verificationStatus": coded(status, "condition-ver-status")}
    assert outcome_of(ALONE, [record("Condition", code=MI, **more)], tmp_path) == outcome
    allergy = group({"code": concept("609328004"), "valueCodeableConcept": MI})
    found = record("AllergyIntolerance", code=MI, patient=SUBJECT, **more)
    assert outcome_of(allergy, [{k: v for k, v in found.items() if k != "subject"}], tmp_path) == outcome


PROCEDURE = group({"code": concept("71388002"), "valueCodeableConcept": MI})
DRUG = group({"code": concept("18629005"), "valueCodeableConcept": MI})
UNKNOWN = "unknown: missing-value"
STATUSES = [
    ("r4", PROCEDURE, {"resourceType": "Procedure", "code": MI}, {
        "completed": "met", "in-progress": "met", "not-done": "not met", "preparation": "not met", "stopped": UNKNOWN,
        "on-hold": UNKNOWN, "unknown": UNKNOWN,
    }),
    ("r4", DRUG, {"resourceType": "MedicationRequest", "intent": "order", "medicationCodeableConcept": MI}, {
        "active": "met", "completed": "met", "on-hold": "met", "cancelled": "not met", "draft": "not met",
        "stopped": UNKNOWN, "unknown": UNKNOWN,
    }),
    ("r5", DRUG, {"resourceType": "MedicationRequest", "intent": "order", "medication": {"concept": MI}}, {
        "active": "met", "ended": "met", "cancelled": "not met", "stopped": UNKNOWN,
    }),
    ("r4", DRUG, {"resourceType": "MedicationAdministration", "medicationCodeableConcept": MI}, {
        "in-progress": "met", "completed": "met", "not-done": "not met", "stopped": UNKNOWN,
    }),
    ("r4", DRUG, {"resourceType": "MedicationStatement", "medicationCodeableConcept": MI}, {
        "active": "met", "completed": "met", "not-taken": "not met", "intended": "not met", "unknown": UNKNOWN,
    }),
    ("r4", DRUG, {"resourceType": "MedicationDispense", "medicationCodeableConcept": MI}, {
        "completed": "met", "declined": "not met", "cancelled": "not met", "stopped": UNKNOWN,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("version", "definition", "resource", "answers"), STATUSES)
def test_statuses_say_whether_something_was_the_case(
    version: str, definition: Json, resource: Json, answers: dict[str, str], tmp_path: Path
) -> None:
    for status, outcome in answers.items():
        found = record(resource["resourceType"], status=status, **resource)
        assert outcome_of(definition, [found], tmp_path, version) == outcome, status


def test_an_order_not_to_do_something_is_no_order(tmp_path: Path) -> None:
    for version, drug in (("r4", {"medicationCodeableConcept": MI}), ("r5", {"medication": {"concept": MI}})):
        for more, outcome in (({}, "met"), ({"doNotPerform": False}, "met"), ({"doNotPerform": True}, "not met")):
            order = record("MedicationRequest", status="active", intent="order", **drug, **more)
            assert outcome_of(DRUG, [order], tmp_path, version) == outcome
    for version, code in (("r4", MI), ("r5", {"concept": MI})):
        code_filter = [{"path": "code", "code": MI["coding"]}]
        needed = variable({"definitionDataRequirement": {"type": "ServiceRequest", "codeFilter": code_filter}})
        if version == "r4":
            for more, outcome in (({}, "met"), ({"doNotPerform": True}, "not met"), ({"status": "revoked"}, "not met")):
                order = record("ServiceRequest", intent="order", code=code, **({"status": "active"} | more))
                assert outcome_of(needed, [order], tmp_path, version) == outcome


def test_a_drug_that_is_not_taken_in_r5(tmp_path: Path) -> None:
    adherence = "http://hl7.org/fhir/CodeSystem/medication-statement-adherence"
    for code, outcome in (("taking", "met"), ("not-taking", "not met")):
        more = {"adherence": {"code": concept(code, system=adherence)}}
        found = record("MedicationStatement", status="recorded", medication={"concept": MI}, **more)
        assert outcome_of(DRUG, [found], tmp_path, "r5") == outcome


def test_a_reason_for_absence_is_no_diagnosis(tmp_path: Path) -> None:
    unknown = concept("unknown", system=ABSENT)
    for definition in (
        variable({"definitionCodeableConcept": unknown}),
        group({"code": {"text": "Defined by CodeableConcept"}, "valueCodeableConcept": unknown}),
        group({"code": concept("64572001"), "valueCodeableConcept": concept("UNK", system=NULL)}),
    ):
        assert "says only that the code is absent" in reviewed(definition, tmp_path)
    both = variable({"definitionCodeableConcept": {"coding": unknown["coding"] + MI["coding"]}})
    assert outcome_of(both, [record("Condition", code=MI)], tmp_path) == "met"
    assert outcome_of(both, [record("Condition", code=unknown)], tmp_path) == "not met"


def test_codings_are_alternatives(tmp_path: Path) -> None:
    sex = group({"code": concept("263495000"), "valueCodeableConcept": concept("248153007", "248152002")})
    for gender, outcome in (("male", "met"), ("female", "met"), ("other", "not met"), ("unknown", UNKNOWN)):
        assert outcome_of(sex, [], tmp_path, patient=PATIENT | {"gender": gender}) == outcome
    two = {"coding": [{"system": SNOMED, "code": "1"}, {"system": "http://www.ama-assn.org/go/cpt", "code": "2"}]}
    either = variable({"definitionCodeableConcept": two})
    for code in two["coding"]:
        done = record("Procedure", status="completed", code={"coding": [code]})
        assert outcome_of(either, [done], tmp_path) == "met"


PACEMAKER = concept("14106009")
DEVICE = group({"code": concept("49062001"), "valueCodeableConcept": PACEMAKER})


@pytest.mark.parametrize("version", ["r4", "r4b"])
def test_a_device_that_names_the_patient(version: str, tmp_path: Path) -> None:
    device = {"resourceType": "Device", "id": "d", "type": PACEMAKER, "patient": SUBJECT}
    nobodys = {key: value for key, value in device.items() if key != "patient"}
    named = group(
        {"code": concept("Device", system="http://hl7.org/fhir/fhir-types"), "valueCodeableConcept": PACEMAKER}
    )
    for definition in (DEVICE, named):
        for found, outcome in (
            (device, "met"),
            (device | {"status": "active"}, "met"),
            (device | {"status": "inactive"}, UNKNOWN),
            (device | {"status": "entered-in-error"}, "not met"),
            (nobodys, "not met"),
        ):
            assert outcome_of(definition, [found], tmp_path, version) == outcome
    used = record("DeviceUseStatement", status="active", device={"reference": "Device/d"})
    assert outcome_of(DEVICE, [nobodys, used], tmp_path, version) == "met"
    assert outcome_of(DEVICE, [used], tmp_path, version).startswith("unknown")


def test_a_device_in_use_in_r5(tmp_path: Path) -> None:
    used = {"resourceType": "DeviceUsage", "id": "u", "status": "active", "patient": SUBJECT}
    assert outcome_of(DEVICE, [used | {"device": {"concept": PACEMAKER}}], tmp_path, "r5") == "met"
    device = {"resourceType": "Device", "id": "d", "type": [PACEMAKER]}
    referred = used | {"device": {"reference": {"reference": "Device/d"}}}
    assert outcome_of(DEVICE, [device, referred], tmp_path, "r5") == "met"
    assert outcome_of(DEVICE, [device], tmp_path, "r5") == "not met"


def test_a_device_of_the_patient_is_found_in_files(tmp_path: Path) -> None:
    criteria = loaded(DEVICE, tmp_path)
    lines = [
        '{"resourceType":"Patient","id":"p"}',
        '{"resourceType":"Device","id":"d","patient":{"reference":"Patient/p"},'
        '"type":{"coding":[{"system":"http://snomed.info/sct","code":"14106009"}]}}',
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "export.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (verdict,) = fhir_eligibility.screen(criteria, tmp_path / "data", now=NOW)
    assert verdict.criteria[0].outcome == "met"


def imaging(value: Json) -> Json:
    return group({"code": concept("363679005"), "valueCodeableConcept": value})


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
def test_imaging_by_procedure_and_by_modality(version: str, tmp_path: Path) -> None:
    procedure, reason = ("procedure", "reason") if version == "r5" else ("procedureCode", "reasonCode")
    found = [{"concept": MI}] if version == "r5" else [MI]
    study = record("ImagingStudy", status="available")
    for element in (procedure, reason):
        assert outcome_of(imaging(MI), [study | {element: found}], tmp_path, version) == "met"
    assert outcome_of(imaging(MI), [study], tmp_path, version) == "not met"
    dicom = concept("MR", system="http://dicom.nema.org/resources/ontology/DCM")
    modality = dicom if version == "r5" else dicom["coding"][0]
    assert (
        outcome_of(imaging(dicom), [study | {"series": [{"uid": "1.2", "modality": modality}]}], tmp_path, version)
        == "met"
    )
    assert outcome_of(imaging(dicom), [study | {procedure: found}], tmp_path, version) == "unknown: missing-value"


@pytest.mark.parametrize(
    "status",
    [
        {"text": "entered in error"},
        {"coding": [{"code": "certain"}]},
        {"coding": [{"display": "Confirmed"}]},
        {"coding": []},
    ],
    ids=["text", "another code", "display", "nothing"],
)
def test_a_diagnosis_whose_certainty_nobody_can_read_is_in_doubt(status: Json, tmp_path: Path) -> None:
    found = record("Condition", code=MI, verificationStatus=status)
    assert outcome_of(ALONE, [found], tmp_path) == "unknown: missing-value"


def named(code: str, display: str) -> Json:
    """A concept of SNOMED CT with what it is called."""
    return {"coding": [{"system": SNOMED, "code": code, "display": display}]}


CPT, OPS = "http://www.ama-assn.org/go/cpt", "http://fhir.de/CodeSystem/bfarm/ops"
EXAMINATIONS: dict[str, tuple[Json, str]] = {
    "imaging as such": (concept("363679005"), "met"),
    "by its display": (named("241633003", "Magnetic resonance imaging of prostate (procedure)"), "met"),
    "without a display": (concept("241633003"), "met"),
    "CPT, radiology": (concept("72195", system=CPT), "met"),
    "OPS, imaging": (concept("3-82a", system=OPS), "met"),
    "a procedure that is none of imaging": (named("80146002", "Appendectomy (procedure)"), "not met"),
    "CPT, surgery": (concept("44950", system=CPT), "not met"),
    "a disorder": (named("22298006", "Myocardial infarction (disorder)"), "not met"),
}


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
@pytest.mark.parametrize(("code", "outcome"), EXAMINATIONS.values(), ids=EXAMINATIONS.keys())
def test_an_examination_is_on_record_as_the_procedure_of_an_imaging_study(
    version: str, code: Json, outcome: str, tmp_path: Path
) -> None:
    asked = variable({"definitionCodeableConcept": code})
    element = "procedure" if version == "r5" else "procedureCode"
    study = record("ImagingStudy", status="available", **{element: [{"concept": code}] if version == "r5" else [code]})
    assert outcome_of(asked, [study], tmp_path, version) == outcome
    assert outcome_of(asked, [], tmp_path, version) == "not met"
    if outcome == "met":
        assert outcome_of(asked, [study | {"status": "cancelled"}], tmp_path, version) == "not met"
        assert outcome_of(asked, [study | {"status": "registered"}], tmp_path, version).startswith("unknown")
        why = record("ImagingStudy", status="available", **{element.replace("procedureCode", "reasonCode"): []})
        assert outcome_of(asked, [why], tmp_path, version) == "not met"


def test_an_examination_by_type_and_value(tmp_path: Path) -> None:
    code = named("241633003", "Magnetic resonance imaging of prostate (procedure)")
    study = record("ImagingStudy", status="available", procedureCode=[code])
    kind = group({"code": concept("71388002"), "valueCodeableConcept": code})
    assert outcome_of(kind, [study], tmp_path) == "met"
    type_of_fhir = concept("Procedure", system="http://hl7.org/fhir/resource-types")
    assert outcome_of(group({"code": type_of_fhir, "valueCodeableConcept": code}), [study], tmp_path) == "not met"


def test_examinations_are_not_counted_twice(tmp_path: Path) -> None:
    """A Procedure and an imaging study may be one examination: where the number depends on it, nobody can tell."""
    code = named("241633003", "Magnetic resonance imaging of prostate (procedure)")
    twice = variable({"definitionCodeableConcept": code, "instancesQuantity": {"value": 2, "comparator": ">="}})
    study = record("ImagingStudy", status="available", procedureCode=[code])
    made = record("Procedure", status="completed", code=code)
    more = made | {"id": "second"}
    assert outcome_of(twice, [made, study], tmp_path).startswith("unknown")
    assert outcome_of(twice, [made, more, study], tmp_path) == "met"
    assert outcome_of(twice, [made], tmp_path) == "not met"


@pytest.mark.parametrize("version", ["r4", "r5"])
def test_an_imaging_study_that_names_no_modality_is_in_doubt(version: str, tmp_path: Path) -> None:
    dicom = "http://dicom.nema.org/resources/ontology/DCM"
    asked = variable({"definitionCodeableConcept": concept("MR", system=dicom)})
    study = record("ImagingStudy", status="available")
    ct: Json = {"system": dicom, "code": "CT"}
    assert outcome_of(asked, [study], tmp_path, version) == "unknown: missing-value"
    assert outcome_of(asked, [study | {"series": [{"uid": "1.2"}]}], tmp_path, version) == "unknown: missing-value"
    other = study | {"modality": [ct if version == "r4" else {"coding": [ct]}]}
    assert outcome_of(asked, [other], tmp_path, version) == "not met"
    assert outcome_of(asked, [], tmp_path, version) == "not met"


@pytest.mark.parametrize("version", ["r4", "r4b", "r5"])
def test_encounters_by_class(version: str, tmp_path: Path) -> None:
    act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    status = "completed" if version == "r5" else "finished"
    admission = group({"code": concept("305335007"), "valueCodeableConcept": concept("32485007")})
    by_class = group({"code": {"text": "Encounter"}, "valueCodeableConcept": concept("IMP", system=act)})
    for code, outcome in (("IMP", "met"), ("AMB", "not met")):
        coding = {"system": act, "code": code}
        encounter = record(
            "Encounter", status=status, **{"class": [{"coding": [coding]}] if version == "r5" else coding}
        )
        assert outcome_of(admission, [encounter], tmp_path, version) == outcome
        assert outcome_of(by_class, [encounter], tmp_path, version) == outcome
        assert outcome_of(by_class, [encounter | {"status": "planned"}], tmp_path, version) == "not met"
    ambulatory = {"system": act, "code": "AMB"}
    typed = record("Encounter", status=status, type=[concept("32485007")])
    typed["class"] = [{"coding": [ambulatory]}] if version == "r5" else ambulatory
    assert outcome_of(admission, [typed], tmp_path, version) == "met"


def test_episodes_of_care(tmp_path: Path) -> None:
    care = group(
        {"code": concept("EpisodeOfCare", system="http://hl7.org/fhir/fhir-types"), "valueCodeableConcept": MI}
    )
    for status, outcome in (("active", "met"), ("finished", "met"), ("waitlist", "not met"), ("cancelled", "not met")):
        episode = {"resourceType": "EpisodeOfCare", "id": "e", "status": status, "type": [MI], "patient": SUBJECT}
        assert outcome_of(care, [episode], tmp_path) == outcome


CANCER, BASAL_CELL, IN_SITU = concept("363346000"), concept("254701007"), concept("109355002")


def diagnoses(*codes: Json) -> list[Json]:
    """One Condition that is coded with all of them."""
    return [record("Condition", code={"coding": [coding for code in codes for coding in code["coding"]]})]


def test_exceptions_are_made_on_the_same_record(tmp_path: Path) -> None:
    disease = {"code": concept("64572001")}
    definition = group(
        disease | {"valueCodeableConcept": CANCER},
        disease | {"valueCodeableConcept": BASAL_CELL, "exclude": True},
        disease | {"valueCodeableConcept": IN_SITU, "exclude": True},
        combinationMethod="except-subset",
    )
    melanoma = diagnoses(CANCER)[0] | {"id": "melanoma"}
    basal_cell = diagnoses(CANCER, BASAL_CELL)[0] | {"id": "basal-cell"}
    assert outcome_of(definition, [melanoma], tmp_path) == "met"
    assert outcome_of(definition, [basal_cell], tmp_path) == "not met"
    assert outcome_of(definition, [melanoma, basal_cell], tmp_path) == "met", "the exception is not of the melanoma"
    assert outcome_of(definition, [], tmp_path) == "not met"
    unsure = basal_cell | {"code": {"coding": [*CANCER["coding"], {"code": "254701007"}]}}
    assert outcome_of(definition, [unsure], tmp_path).startswith("unknown")


def test_exceptions_that_are_no_such_record_are_of_the_patient(tmp_path: Path) -> None:
    definition = group(
        {"code": concept("64572001"), "valueCodeableConcept": CANCER},
        {"code": concept("71388002"), "valueCodeableConcept": concept("1"), "exclude": True},
        {"code": concept("263495000"), "valueCodeableConcept": concept("248152002"), "exclude": True},
        combinationMethod="except-subset",
    )
    cured = record("Procedure", status="completed", code=concept("1"))
    assert outcome_of(definition, diagnoses(CANCER), tmp_path) == "met"
    assert outcome_of(definition, [*diagnoses(CANCER), cured], tmp_path) == "not met"
    assert outcome_of(definition, diagnoses(CANCER), tmp_path, patient=PATIENT | {"gender": "female"}) == "not met"


def test_exceptions_that_nobody_can_place_need_a_person(tmp_path: Path) -> None:
    disease = {"code": concept("64572001"), "valueCodeableConcept": CANCER}
    words = {"code": concept("64572001"), "valueCodeableConcept": {"text": "cured"}, "exclude": True}
    assert "'cured'" in reviewed(group(disease, words, combinationMethod="except-subset"), tmp_path)
    nothing = group(disease | {"exclude": True}, combinationMethod="except-subset")
    assert "nothing" in reviewed(nothing, tmp_path)


@pytest.mark.parametrize("kind", ["practitioner", "device", "medication", "substance"])
def test_a_group_of_others_than_patients_is_not_screened(kind: str, tmp_path: Path) -> None:
    definition = group({"code": concept("64572001"), "valueCodeableConcept": CANCER}, type=kind)
    criteria = loaded(definition, tmp_path, on_error="keep")
    assert criteria.rules == ()
    assert [error.code for error in criteria.errors] == ["group-type"]
    profile = {"profile": ["http://hl7.org/fhir/uv/ebm/StructureDefinition/cohort-definition"]}
    assert loaded(definition | {"meta": profile}, tmp_path).errors == ()


@pytest.mark.parametrize("expression", ["Patient.deceased", "Patient.multipleBirth"])
def test_a_value_that_is_no_boolean_by_its_type(expression: str, tmp_path: Path) -> None:
    definition = variable({"definitionExpression": {"language": "text/fhirpath", "expression": expression}})
    (element,) = (expression.removeprefix("Patient."),)
    other = {"deceasedDateTime": "2026-01-01"} if element == "deceased" else {"multipleBirthInteger": 2}
    for more, outcome in (
        ({f"{element}Boolean": True}, "met"),
        ({f"{element}Boolean": False}, "not met"),
        (other, "met"),
        ({}, UNKNOWN),
    ):
        assert outcome_of(definition, [], tmp_path, patient=PATIENT | more) == outcome
    (warning,) = loaded(definition, tmp_path).diagnostics
    assert (warning.code, "no value as unknown" in warning.message) == ("not-boolean", True)


def test_values_of_an_extension_and_records(tmp_path: Path) -> None:
    url = "http://s.example/consent"
    text = f"Patient.extension('{url}').value"
    definition = variable({"definitionExpression": {"language": "text/fhirpath", "expression": text}})

    def saying(*values: bool) -> Json:
        return PATIENT | {"extension": [{"url": url, "valueBoolean": value} for value in values]}

    for values, outcome in (((True,), "met"), ((False,), "not met"), ((False, False), "not met"), ((), UNKNOWN)):
        assert outcome_of(definition, [], tmp_path, patient=saying(*values)) == outcome
    assert outcome_of(definition, [], tmp_path, patient=saying(True, False)).startswith("unknown")
    exists = variable({"definitionExpression": {"language": "text/fhirpath", "expression": f"{text}.exists()"}})
    assert outcome_of(exists, [], tmp_path, patient=saying()) == "not met"
    records = variable({"definitionExpression": {"language": "text/fhirpath", "expression": "Condition"}})
    assert outcome_of(records, [], tmp_path) == "not met"
    assert outcome_of(records, [record("Condition", code=MI)], tmp_path) == "met"
    assert "no such record as not met" in loaded(records, tmp_path).diagnostics[0].message
