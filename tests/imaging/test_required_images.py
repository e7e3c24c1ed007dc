"""`screen --require-images`: images count only where the archive holds them; FHIRPath and CQL alike."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.data.archives.access import Access
from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.evaluation.verdict import Verdict
from fhir_eligibility.runners.imaging.confirming import RequiredImages
from fhir_eligibility.runners.imaging.images import Places
from fhir_eligibility.ui.commands.cli import main
from tests.imaging.conftest import FLUTE, lines_of
from tests.imaging.orthanc import Orthanc
from tests.imaging.stub import Answerer, Asked, Reply, Stub, rows
from tests.servers.fhir_stub import FhirStub
from tests.servers.stub import running_stub

pytestmark = pytest.mark.slow

Resource = dict[str, Any]
FORMS = ("mr", "cql/mr")


def bundle(name: str = "example-01") -> list[Resource]:
    found = json.loads((FLUTE / "cohort" / f"{name}.json").read_text())
    return [entry["resource"] for entry in found["entry"]]


def study_of(resources: list[Resource]) -> Resource:
    return next(r for r in resources if r["resourceType"] == "ImagingStudy")


def criteria(form: str) -> fhir_eligibility.Criteria:
    found = fhir_eligibility.load_criteria(FLUTE / form, libraries=[FLUTE / "cql"])
    assert found.errors == ()
    return found


def judged(
    resources: list[Resource], url: str | None, form: str = "mr", given: fhir_eligibility.Criteria | None = None
) -> Verdict:
    with Client(Access(retries=0)) as client:
        images = RequiredImages(client, Places(url, url is not None))
        patients = list(fhir_eligibility.compartments_of(resources))
        (verdict,) = fhir_eligibility.screen(given or criteria(form), patients, now="2026-06-01", images=images)
    return verdict


def outcome(verdict: Verdict, criterion: str = "images") -> tuple[str, str | None]:
    found = next(c for c in verdict.criteria if c.id == criterion)
    return found.outcome, found.reason


@pytest.mark.parametrize("form", FORMS)
def test_held(form: str, orthanc: Orthanc) -> None:
    verdict = judged(bundle(), orthanc.url, form)
    assert (verdict.verdict, [h.state for h in verdict.holdings]) == ("included", ["present"])


@pytest.mark.parametrize("form", FORMS)
def test_absent_images_do_not_count(form: str, empty_orthanc: Orthanc) -> None:
    verdict = judged(bundle(), empty_orthanc.url, form)
    assert (verdict.verdict, outcome(verdict)) == ("excluded", ("not met", None))
    detail = next(c.detail for c in verdict.criteria if c.id == "images")
    assert detail == "images that are not held do not count: ImagingStudy/example-01-images is absent"
    assert [h.state for h in verdict.holdings] == ["absent"]


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_is_not_reached_leaves_it_unknown(form: str) -> None:
    verdict = judged(bundle(), "http://127.0.0.1:1/dicom-web", form)
    assert (verdict.verdict, outcome(verdict)) == ("undetermined", ("unknown", "images-unconfirmed"))
    assert outcome(verdict, "no-recent-images") == ("unknown", "images-unconfirmed")
    (holding,) = verdict.holdings
    assert (holding.state, holding.reason) == ("unreachable", "connection")


@pytest.mark.parametrize("form", FORMS)
def test_where_it_does_not_matter_the_answer_stands(form: str) -> None:
    verdict = judged(bundle("example-02"), "http://127.0.0.1:1/dicom-web", form)
    assert (verdict.verdict, outcome(verdict)) == ("excluded", ("not met", None))


@pytest.mark.parametrize("form", FORMS)
def test_images_without_a_uid(form: str, orthanc: Orthanc) -> None:
    resources = bundle()
    study_of(resources)["identifier"] = [{"value": "STUDY-12345"}]
    verdict = judged(resources, orthanc.url, form)
    assert (verdict.verdict, outcome(verdict)) == ("undetermined", ("unknown", "images-unconfirmed"))
    assert [h.state for h in verdict.holdings] == ["unidentified"]


@pytest.mark.parametrize("form", FORMS)
def test_images_of_another_patient(form: str, orthanc: Orthanc) -> None:
    resources = bundle()
    resources[0]["identifier"][0]["value"] = "EX9999"
    verdict = judged(resources, orthanc.url, form)
    assert (verdict.verdict, outcome(verdict)) == ("undetermined", ("unknown", "images-unconfirmed"))
    detail = next(c.detail for c in verdict.criteria if c.id == "images")
    assert detail is not None and "held for Patient ID EX0001" in detail


def with_series_of_two_modalities() -> list[Resource]:
    resources = bundle()
    study = study_of(resources)
    ct = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}
    study["series"][1]["modality"] = ct
    study["modality"].append(ct)
    return resources


@pytest.mark.parametrize(("gone", "expected"), [(0, "excluded"), (1, "included")])
def test_series_that_are_missing_do_not_count(gone: int, expected: str, orthanc: Orthanc) -> None:
    resources = with_series_of_two_modalities()
    orthanc.remove("Series", study_of(resources)["series"][gone]["uid"])
    verdict = judged(resources, orthanc.url)
    assert (verdict.verdict, [h.state for h in verdict.holdings]) == (expected, ["partial"])
    if expected == "included":
        links = [link for link in verdict.imaging if link.criterion == "images"]
        assert [[series.uid for series in link.series] for link in links] == [[study_of(resources)["series"][0]["uid"]]]


def count_criteria(folder: Path, expression: str) -> fhir_eligibility.Criteria:
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "count",
        "characteristic": [
            {"linkId": "images", "definitionExpression": {"language": "text/fhirpath", "expression": expression}}
        ],
    }
    (folder / "count.json").write_text(json.dumps(artifact))
    return fhir_eligibility.load_criteria(folder / "count.json")


def several(count: int) -> list[Resource]:
    resources = bundle()
    original = study_of(resources)
    for number in range(count - 1):
        study = copy.deepcopy(original)
        study["id"], study["identifier"][0]["value"], study["series"] = (
            f"more-{number}",
            f"urn:oid:2.25.{number + 1}",
            [],
        )
        resources.append(study)
    return resources


@pytest.mark.parametrize(
    ("expression", "studies", "expected"),
    [
        ("ImagingStudy.count() = 1", 3, ("unknown", "images-unconfirmed")),
        ("ImagingStudy.count() = 2", 3, ("unknown", "images-unconfirmed")),
        ("ImagingStudy.count() = 3", 8, ("unknown", "images-unconfirmed")),
        ("ImagingStudy.count() <= 3", 3, ("met", None)),
        ("ImagingStudy.count() > 3", 3, ("not met", None)),
    ],
)
def test_counts_are_judged_every_way(expression: str, studies: int, expected: Any, tmp_path: Path) -> None:
    given = count_criteria(tmp_path, expression)
    verdict = judged(several(studies), "http://127.0.0.1:1/dicom-web", given=given)
    assert outcome(verdict) == expected


def test_endpoints_of_the_data_are_asked(stub: Callable[[Answerer], Stub]) -> None:
    resources = bundle()
    uid = study_of(resources)["identifier"][0]["value"].removeprefix("urn:oid:")

    def answer(asked: Asked) -> Reply:
        return rows({"0020000D": uid}) if asked.path.endswith("/studies") else Reply()

    archive = stub(answer)
    next(r for r in resources if r["resourceType"] == "Endpoint")["address"] = archive.url
    study_of(resources)["series"] = []
    verdict = judged(resources, None)
    assert [(h.state, h.archive) for h in verdict.holdings] == [("present", archive.url)]
    assert verdict.verdict == "included"


def test_a_screening_that_is_left_can_be_begun_again(orthanc: Orthanc) -> None:
    data = FLUTE / "cohort"
    with Client(Access(retries=0)) as client:
        images = RequiredImages(client, Places(orthanc.url, True))
        given = criteria("mr")
        for _ in fhir_eligibility.screen(given, data, now="2026-06-01", images=images):
            break
        found = list(fhir_eligibility.screen(given, data, now="2026-06-01", images=images))
    assert {holding.state for verdict in found for holding in verdict.holdings} == {"present"}


def test_the_command(tmp_path: Path, orthanc: Orthanc, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["screen", str(FLUTE / "mr"), "--data", str(FLUTE / "cohort"), "--now", "2026-06-01", "--quiet"]
    plain, required = tmp_path / "plain", tmp_path / "required"
    assert main([*arguments, "--out", str(plain)]) == 0
    required_options = ["--require-images", "--dicomweb", orthanc.url, "--ignore-endpoints"]
    assert main([*arguments, "--out", str(required), *required_options]) == 0
    before, after = lines_of(plain / "verdicts.ndjson"), lines_of(required / "verdicts.ndjson")
    assert [v["verdict"] for v in after] == [v["verdict"] for v in before]
    assert {h["state"] for v in after for h in v["holdings"]} == {"present"}
    assert json.loads((required / "run.json").read_text())["options"]["require_images"] is True
    assert main([*arguments, "--out", str(required), "--require-images", "--ignore-endpoints"]) == 2
    assert "--ignore-endpoints needs --dicomweb" in capsys.readouterr().err
    assert main([*arguments, "--out", str(required), "--dicomweb", "https://me:secret@x.example/rs"]) == 2
    shown = capsys.readouterr().err
    assert "holds credentials" in shown and "secret" not in shown


def test_patients_of_a_server(tmp_path: Path, orthanc: Orthanc) -> None:
    pytest.importorskip("urllib3")
    resources = {(r["resourceType"], r["id"]): r for name in ("example-01", "example-02") for r in bundle(name)}
    with running_stub() as server:
        FhirStub(server, resources.values(), page=50, lenient=True)
        arguments = ["screen", str(FLUTE / "mr"), "--data", server.base, "--now", "2026-06-01", "--quiet"]
        required = ["--require-images", "--dicomweb", orthanc.url, "--ignore-endpoints"]
        assert main([*arguments, "--out", str(tmp_path), *required]) == 0
    found = lines_of(tmp_path / "verdicts.ndjson")
    assert [(v["patient"], v["verdict"], [h["state"] for h in v["holdings"]]) for v in found] == [
        ("Patient/example-01", "included", ["present"]),
        ("Patient/example-02", "excluded", ["present"]),
    ]
