"""Criteria for one version of FHIR and data of another: an error where all the data is of the other, unknown where a record is, never a quiet answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.models.differences import differences, family, written_as
from fhir_eligibility.data.patients.versions import FhirVersionError, guess_version_of_paths, version_of
from fhir_eligibility.runners.screening.run import RunOptions, run
from fhir_eligibility.ui.commands.cli import main

NOW = "2026-03-01T00:00:00Z"
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1960-01-01"}
SUBJECT = {"subject": {"reference": "Patient/p"}}
DRUG = {"coding": [{"system": "http://www.whocc.no/atc", "code": "C09AA05"}]}
R4_REQUEST = {
    "resourceType": "MedicationRequest",
    "id": "r4",
    "status": "active",
    "intent": "order",
    **SUBJECT,
    "medicationCodeableConcept": DRUG,
}
R5_REQUEST = {**{k: v for k, v in R4_REQUEST.items() if k != "medicationCodeableConcept"}, "id": "r5"}
R5_REQUEST["medication"] = {"concept": DRUG}
R4_STUDY = {
    "resourceType": "ImagingStudy",
    "id": "s4",
    "status": "available",
    **SUBJECT,
    "series": [{"uid": "1.2.3", "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "MR"}}],
}
R5_STUDY = {
    **R4_STUDY,
    "id": "s5",
    "series": [{"uid": "1.2.4", "modality": {"coding": [R4_STUDY["series"][0]["modality"]]}}],
}
R4_VISIT = {"resourceType": "Encounter", "id": "e4", "status": "finished", **SUBJECT, "class": {"code": "IMP"}}
R5_VISIT = {
    "resourceType": "Encounter",
    "id": "e5",
    "status": "completed",
    **SUBJECT,
    "class": [{"coding": [{"code": "IMP"}]}],
}


def criteria(folder: Path, expression: str, language: str = "text/fhirpath", **more: Any) -> Path:
    path = folder / "criteria.json"
    variable = {
        "resourceType": "EvidenceVariable",
        "id": "ev",
        "url": "http://example.org/ev",
        "status": "active",
        "characteristic": [
            {"linkId": "c", "definitionExpression": {"language": language, "expression": expression}, **more}
        ],
    }
    path.write_text(json.dumps(variable))
    return path


def bundle(folder: Path, *resources: dict[str, Any]) -> Path:
    path = folder / "data.json"
    entries = [{"resource": resource} for resource in (PATIENT, *resources)]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    return path


def lines(folder: Path, *resources: dict[str, Any]) -> Path:
    path = folder / "data.ndjson"
    path.write_text("".join(json.dumps(resource) + "\n" for resource in (PATIENT, *resources)))
    return path


@pytest.mark.parametrize(
    ("resource", "version"),
    [
        (R4_REQUEST, "r4"),
        (R5_REQUEST, "r5"),
        (R4_STUDY, "r4"),
        (R5_STUDY, "r5"),
        (R4_VISIT, "r4"),
        (R5_VISIT, "r5"),
        ({"resourceType": "Procedure", "performedDateTime": "2020"}, "r4"),
        ({"resourceType": "Procedure", "occurrenceDateTime": "2020"}, "r5"),
        ({"resourceType": "Encounter", "actualPeriod": {"start": "2020"}}, "r5"),
        ({"resourceType": "DeviceUsage"}, "r5"),
        ({"resourceType": "DeviceUseStatement"}, "r4"),
        ({"resourceType": "Observation", "valueQuantity": {"value": 3}}, None),
        ({"resourceType": "Encounter", "class": [{"system": "x", "code": "IMP"}]}, None),
        ({"resourceType": "Procedure", "performedDateTime": "2020", "occurrenceDateTime": "2020"}, None),
        ({"resourceType": "Unheard"}, None),
        (PATIENT, None),
    ],
)
def test_a_resource_tells_its_version_by_what_only_one_version_writes(
    resource: dict[str, Any], version: str | None
) -> None:
    assert version_of(resource) == version


def test_elements_that_are_written_alike_are_no_difference() -> None:
    for version in ("r4", "r4b", "r5"):
        model = load_model(version)
        assert differences(model, "Condition", ["code", "onset", "verificationStatus.coding.code"]) == ()
        assert differences(model, "Patient", ["birthDate", "gender", "name.family"]) == ()
        assert differences(model, "Observation", ["code", "value", "effective"]) == ()
    (found,) = differences(load_model("r4"), "MedicationRequest", ["status", "medication"])
    assert found.other == {"medication"}
    assert written_as({"resourceType": "ImagingStudy", "series": R5_STUDY["series"]}, "r5") == "series.modality"


def _by_all_elements(resource: dict[str, Any], version: str) -> str | None:
    """As `written_as`, trying every element of the other family whether the resource has it or not."""
    own = load_model({"R4": "r5", "R5": "r4"}[family(version)])
    kind = resource["resourceType"]
    if load_model(version).has_type(kind) and not own.has_type(kind):
        return "resourceType"
    paths: list[str] = []
    for name, element in own.elements(kind).items():
        backbone = f"{kind}.{name}"
        paths += [name, *(f"{name}.{inner}" for inner in (own.elements(backbone) if not element.choice else ()))]
    return next((told for one in differences(own, kind, paths) if (told := one.found(resource)) is not None), None)


VALUES = st.sampled_from(
    ["x", True, {"coding": [{"code": "x"}]}, {"code": "x"}, {"concept": {"text": "x"}}, {"reference": "x"}]
)
KINDS = [
    "Encounter",
    "ImagingStudy",
    "MedicationRequest",
    "Observation",
    "Procedure",
    "DeviceUseStatement",
    "DeviceUsage",
]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_the_elements_that_a_resource_has_tell_as_much_as_all(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    models = [load_model(version) for version in ("r4", "r5")]
    names = sorted({name for m in models for e in m.elements(kind).values() for name, _ in e.json_names})
    names = names or ["status"]
    inner = sorted({e for m in models for name in names for e in m.elements(f"{kind}.{name}")})
    objects = st.dictionaries(st.sampled_from(inner), VALUES, max_size=3) if inner else VALUES
    value = st.one_of(VALUES, st.lists(st.one_of(VALUES, objects), max_size=2))
    resource = {"resourceType": kind, **data.draw(st.dictionaries(st.sampled_from(names), value, max_size=5))}
    for version in ("r4", "r4b", "r5"):
        assert written_as(resource, version) == _by_all_elements(resource, version)


@pytest.mark.parametrize(
    ("version", "resource", "written"), [("r5", R4_REQUEST, "R4"), ("r4", R5_REQUEST, "R5"), ("r4b", R5_STUDY, "R5")]
)
def test_another_version_than_the_data_is_an_error(
    tmp_path: Path, version: str, resource: dict[str, Any], written: str
) -> None:
    rules = fhir_eligibility.load_criteria(
        criteria(tmp_path, "Patient.gender = 'male'"), fhir_version=version, on_error="keep"
    )
    data = bundle(tmp_path, resource)
    with pytest.raises(FhirVersionError, match=f"the data is FHIR {written}: .*--fhir {written.lower()}"):
        list(fhir_eligibility.screen(rules, data, now=NOW))
    with pytest.raises(FhirVersionError):
        run(rules, [], [data], tmp_path / "out", RunOptions(now=NOW))
    assert not (tmp_path / "out").exists()
    assert [v.verdict for v in fhir_eligibility.screen(rules, data, now=NOW, force_fhir=True)] == ["included"]


def test_the_command_says_what_tells_the_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = criteria(tmp_path, "MedicationRequest.exists()", exclude=True)
    data = bundle(tmp_path, R4_REQUEST)
    asked = ["screen", str(rules), "--data", str(data), "--out", str(tmp_path / "out"), "--now", NOW]
    assert main([*asked, "--fhir", "r5"]) == 2
    said = capsys.readouterr().err
    assert "MedicationRequest/r4" in said and "`medicationCodeableConcept`" in said and "--force-fhir" in said
    assert main(asked) == 0
    assert main([*asked, "--fhir", "r5", "--force-fhir"]) == 0


@pytest.mark.parametrize(
    ("version", "expression", "resource", "element"),
    [
        ("r4", "MedicationRequest.where(medication.ofType(CodeableConcept).coding.exists(code = 'X')).exists()", R5_REQUEST, "medication"),
        ("r5", "MedicationRequest.where(medication.concept.coding.exists(code = 'X')).exists()", R4_REQUEST, "medicationCodeableConcept"),
        ("r4", "ImagingStudy.where(series.modality.exists(code = 'MR')).exists()", R5_STUDY, "series.modality"),
        ("r4", "Encounter.exists(class.code = 'IMP')", R5_VISIT, "class"),
        ("r5", "Encounter.exists(class.coding.exists(code = 'IMP'))", R4_VISIT, "class"),
    ],
)  # fmt: skip
def test_a_record_of_another_version_leaves_what_reads_it_unknown(
    tmp_path: Path, version: str, expression: str, resource: dict[str, Any], element: str
) -> None:
    rules = fhir_eligibility.load_criteria(
        criteria(tmp_path, expression, exclude=True), fhir_version=version, on_error="keep"
    )
    assert not rules.errors
    for write in (bundle, lines):
        (verdict,) = fhir_eligibility.screen(rules, write(tmp_path, resource), now=NOW, force_fhir=True)
        assert (verdict.verdict, verdict.criteria[0].reason) == ("undetermined", "other-fhir-version")
        assert f"`{element}`" in str(verdict.criteria[0].detail)
        assert f"{resource['resourceType']}/{resource['id']}" in str(verdict.criteria[0].detail)


def test_a_mixture_is_screened_and_each_record_is_told_apart(tmp_path: Path) -> None:
    expression = "MedicationRequest.where(medication.ofType(CodeableConcept).coding.exists(code = 'X')).exists()"
    rules = fhir_eligibility.load_criteria(criteria(tmp_path, expression), fhir_version="r4", on_error="keep")
    (verdict,) = fhir_eligibility.screen(rules, bundle(tmp_path, R4_REQUEST, R5_REQUEST), now=NOW)
    assert verdict.criteria[0].reason == "other-fhir-version"
    rules = fhir_eligibility.load_criteria(
        criteria(tmp_path, "MedicationRequest.exists(status = 'active')"), fhir_version="r4", on_error="keep"
    )
    (verdict,) = fhir_eligibility.screen(rules, bundle(tmp_path, R4_REQUEST, R5_REQUEST), now=NOW)
    assert verdict.verdict == "included"  # both versions write a status


def test_most_resources_tell_the_version_of_files(tmp_path: Path) -> None:
    others = [{**R5_REQUEST, "id": f"r5-{number}"} for number in range(5)]
    assert guess_version_of_paths([bundle(tmp_path, R4_REQUEST, *others)]) == "r5"
    assert guess_version_of_paths([bundle(tmp_path)]) == "r4"


LIBRARY = """library Drugs version '1'
using FHIR version '{}'
include FHIRHelpers version '{}'
context Patient
define "On a drug": exists [MedicationRequest]
"""


@pytest.mark.parametrize(
    ("library", "patients", "fits"),
    [("5.0.0", "r4", False), ("4.0.1", "r5", False), ("4.0.1", "r4b", True), ("5.0.0", "r5", True)],
)
def test_a_library_for_another_version_than_the_patients_is_an_error(
    tmp_path: Path, library: str, patients: str, fits: bool
) -> None:
    path = criteria(tmp_path, "On a drug", "text/cql-identifier")
    (tmp_path / "drugs.cql").write_text(LIBRARY.format(library, library))
    found = fhir_eligibility.load_criteria(tmp_path, fhir_version=patients, on_error="keep")
    assert [d.code for d in found.errors] == ([] if fits else ["fhir-version"])
    if not fits:
        assert f"uses FHIR {library}" in found.errors[0].message and "--force-fhir" in str(found.errors[0].hint)
        assert not fhir_eligibility.load_criteria(
            tmp_path, fhir_version=patients, force_fhir=True, on_error="keep"
        ).errors
    assert path.exists()
