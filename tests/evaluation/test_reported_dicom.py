"""Cases from public bug reports about DICOM UIDs, endpoints and linkage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fhir_eligibility
from fhir_eligibility.data.archives.uids import valid_uid
from fhir_eligibility.evaluation.imaging import imaging_link, merge_links, normalise_uid
from fhir_eligibility.evaluation.verdict import ImagingLink, Verdict
from fhir_eligibility.output.lines import line_of
from tests.shared import reported


def links(case: dict[str, Any]) -> list[ImagingLink]:
    resources = case["input"]["resources"]
    by_name = {f"{r['resourceType']}/{r['id']}": r for r in resources}
    studies = [r for r in resources if r["resourceType"] == "ImagingStudy"]
    return merge_links([imaging_link(s, criterion="c", role="met", failed=None, resolve=by_name.get) for s in studies])


def series_urls(link: ImagingLink) -> list[str]:
    return [f"{url}/series/{series.uid}" for series in link.series for url in link.urls]


def test_no_endpoint() -> None:
    case = reported("DCM-NO-ENDPOINT")
    (link,) = links(case)
    expected = case["expected"]
    assert link.study == expected["study_uid"]
    assert [s.uid for s in link.series] == expected["series"]
    assert [uid for s in link.series for uid in s.instances] == expected["instances"]
    assert link.urls == expected["urls"]
    assert link.warnings == ["Endpoint/missing cannot be resolved"]


def test_a_base_that_was_given_is_used_where_the_data_names_none() -> None:
    case = reported("DCM-NO-ENDPOINT")
    study = next(r for r in case["input"]["resources"] if r["resourceType"] == "ImagingStudy")
    link = imaging_link(study, criterion="c", role="met", failed=None, resolve=lambda _: None, dicomweb="https://x/rs/")
    assert link.url == f"https://x/rs/studies/{link.study}"


def test_several_endpoints_one_study() -> None:
    case = reported("DCM-MULTI-ENDPOINT-TYPES")
    found = links(case)
    assert len(found) == case["expected"]["studies"]
    assert series_urls(found[0]) == case["expected"]["urls_for_series"]


def test_urn_oid_is_stripped() -> None:
    case = reported("DCM-URN-OID-STRIP")
    (link,) = links(case)
    assert link.study == case["expected"]["study_uid"]
    assert [s.uid for s in link.series] == case["expected"]["series"]
    assert series_urls(link) == case["expected"]["urls"]
    assert link.accession == "A-77"


def test_uid_validity() -> None:
    case = reported("DCM-UID-LENGTH-EMPTY")
    uids = case["input"]["uids"]
    assert [valid_uid(uid) for uid in uids] == case["expected"]["valid_as_is"]
    repaired = [normalise_uid(uid)[0] for uid in uids]
    assert repaired[5] == repaired[6] == "1.2.40.0.13.777"
    assert [repaired[i] for i in (0, 2, 3, 4, 7)] == [None] * 5


def test_repeated_uids() -> None:
    case = reported("DCM-UIDS-REPEATED")
    (link,) = links(case)
    assert link.study == case["expected"]["study_uid"]
    assert [s.uid for s in link.series] == case["expected"]["series"]
    assert [uid for s in link.series for uid in s.instances] == case["expected"]["instances"]
    assert "a series has the UID of the study" in link.warnings
    assert any("listed twice" in warning for warning in link.warnings)


def test_statuses() -> None:
    case = reported("DCM-STATUS-CANCELLED")
    found = {link.resource: link for link in links(case)}
    assert found["ImagingStudy/s0"].study in case["expected"]["linked"]
    assert found["ImagingStudy/s0"].warnings == []
    noted = [f"{found[f'ImagingStudy/{s}'].study}" for s in ("s3", "s4")]
    assert noted == [text.partition(" ")[0] for text in case["expected"]["linked_with_note"]]
    assert all(found[f"ImagingStudy/{s}"].warnings for s in ("s3", "s4"))
    assert [found[f"ImagingStudy/{s}"].study for s in ("s1", "s2")] == [None, None]


@pytest.mark.parametrize("study", ["is1", "is2"])
def test_modality_of_study_and_series(study: str) -> None:
    case = reported("DCM-MODALITY-STUDY-VS-SERIES")
    resource = next(r for r in case["input"]["resources"] if r["id"] == study)
    for name, text in case["input"]["expressions"].items():
        compiled = fhir_eligibility.compile_fhirpath(text, root="ImagingStudy")
        assert [item.value for item in compiled.evaluate(resource)] == case["expected"][study][name], name


def test_only_the_series_that_a_criterion_asked_for_are_linked(tmp_path: Path) -> None:
    case = reported("DCM-MODALITY-STUDY-VS-SERIES")
    expression = "ImagingStudy.exists(series.exists(modality.code = 'CT'))"
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "ct",
        "characteristic": [{"definitionExpression": {"language": "text/fhirpath", "expression": expression}}],
    }
    path = tmp_path / "ct.json"
    path.write_text(json.dumps(artifact), encoding="utf-8")
    patients = list(fhir_eligibility.compartments_of(case["input"]["resources"]))
    (verdict,) = fhir_eligibility.screen(fhir_eligibility.load_criteria(path), patients, now="2026-01-01")
    met = [link for link in verdict.imaging if link.role == "met"]
    assert [(link.resource, [s.uid for s in link.series]) for link in met] == [
        ("ImagingStudy/is1", case["expected"]["is1"]["ct_by_series"])
    ]


def screened(resources: list[dict[str, Any]], folder: Path) -> Verdict:
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "any",
        "characteristic": [
            {"definitionExpression": {"language": "text/fhirpath", "expression": "ImagingStudy.exists()"}}
        ],
    }
    path = folder / "any.json"
    path.write_text(json.dumps(artifact), encoding="utf-8")
    patients = list(fhir_eligibility.compartments_of(resources))
    (verdict,) = fhir_eligibility.screen(fhir_eligibility.load_criteria(path), patients, now="2026-01-01")
    return verdict


def test_a_verdict_on_images_without_a_uid_can_be_read_back(tmp_path: Path) -> None:
    study = {"resourceType": "ImagingStudy", "id": "i", "status": "available", "subject": {"reference": "Patient/p"}}
    verdict = screened([{"resourceType": "Patient", "id": "p"}, {**study, "series": [{"number": 1}]}], tmp_path)
    (link,) = verdict.imaging
    assert (link.study, [series.uid for series in link.series]) == (None, [None])
    assert Verdict.model_validate_json(line_of(verdict)) == verdict


def test_a_verdict_with_images_names_the_patient_as_archives_do(tmp_path: Path) -> None:
    identifiers = [
        {"system": "https://h.example/mrn", "value": " 0042 "},
        {"value": "7"},
        {"system": "https://x.example"},
    ]
    patient = {"resourceType": "Patient", "id": "p", "identifier": identifiers}
    study = {"resourceType": "ImagingStudy", "id": "i", "status": "available", "subject": {"reference": "Patient/p"}}
    counted = {**study, "numberOfSeries": 2, "numberOfInstances": 40}
    verdict = screened([patient, counted], tmp_path)
    assert [(i.system, i.value) for i in verdict.identifiers] == [("https://h.example/mrn", "0042"), (None, "7")]
    assert (verdict.imaging[0].series_count, verdict.imaging[0].instance_count) == (2, 40)
    assert screened([patient], tmp_path).identifiers == []


def test_no_password_of_an_address_in_the_data_reaches_a_link() -> None:
    case = reported("DCM-URN-OID-STRIP")
    endpoint = next(r for r in case["input"]["resources"] if r["resourceType"] == "Endpoint")
    endpoint["address"] = "https://reader:secret@pacs.example/dicom-web/?token=hidden"
    (link,) = links(case)
    assert link.url == f"https://pacs.example/dicom-web/studies/{link.study}"
    written = msgspec.json.encode(link).decode()
    assert "secret" not in written and "hidden" not in written
    assert any("without the credentials" in warning for warning in link.warnings)
