"""`imaging manifest`: tables, lists and FHIR resources of the images behind verdicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.imagingselection import ImagingSelection
from fhir.resources.R4B.list import List as ListR4B

import fhir_eligibility
from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.runners.imaging.manifest import manifest
from fhir_eligibility.ui.commands.cli import main
from tests.imaging.conftest import lines_of, link_of
from tests.shared import reported

INCLUDED = ("example-01", "example-06", "example-09", "example-10")


def test_the_included(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = manifest(run, out)
    assert (result.studies, result.series, result.instances) == (4, 8, 16)
    links = [link_of(run, name) for name in INCLUDED]
    assert (out / "studies.txt").read_text().split() == [link["study"] for link in links]
    assert (out / "series.txt").read_text().split() == [s["uid"] for link in links for s in link["series"]]
    rows = list(csv.DictReader((out / "images.csv").open(newline="")))
    images = [row for row in rows if row["criterion"] == "images"]
    assert [row["instance"] for row in images] == [i for link in links for s in link["series"] for i in s["instances"]]
    first = images[0]
    assert (first["patient"], first["modality"], first["description"], first["accession"]) == (
        "Patient/example-01",
        "MR",
        "T2 axial",
        "A00001",
    )
    assert first["url"] == f"{links[0]['series'][0]['url']}/instances/{first['instance']}"
    assert first["accept"] == reported("DCM-WADO-TRANSFER-SYNTAX")["expected"]["manifest_accept_header"]


def test_references_for_r4(run: Path, tmp_path: Path) -> None:
    manifest(run, tmp_path / "out")
    lists = lines_of(tmp_path / "out" / "lists.ndjson")
    assert [found["subject"]["reference"] for found in lists] == [f"Patient/{name}" for name in INCLUDED]
    for found in lists:
        ListR4B.model_validate(found)
    assert lists[0]["entry"][0]["item"]["reference"] == "ImagingStudy/example-01-images"
    assert lists[0]["entry"][0]["item"]["identifier"]["value"] == f"urn:oid:{link_of(run, 'example-01')['study']}"


def test_imaging_selections_for_r5(run: Path, tmp_path: Path) -> None:
    (run / "run.json").write_text('{"fhir_version": "r5"}')
    manifest(run, tmp_path / "out")
    found = lines_of(tmp_path / "out" / "imaging-selections.ndjson")
    assert len(found) == 8
    for selection in found:
        ImagingSelection.model_validate(selection)
    link = link_of(run, "example-01")
    assert found[0]["studyUid"] == link["study"]
    assert [one["seriesUid"] for one in found[:2]] == [series["uid"] for series in link["series"]]
    assert [one["uid"] for one in found[0]["instance"]] == link["series"][0]["instances"]
    assert found[0]["derivedFrom"] == [{"reference": "ImagingStudy/example-01-images"}]
    assert found[0]["status"] == "unknown"
    ids = [one["id"] for one in found]
    manifest(run, tmp_path / "again")
    assert [one["id"] for one in lines_of(tmp_path / "again" / "imaging-selections.ndjson")] == ids
    assert len(set(ids)) == 8


def test_everything_and_what_is_held(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manifest(run, tmp_path / "all", everything=True).studies == 12
    assert main(["imaging", "manifest", str(run), "--out", str(tmp_path / "held"), "--held"]) == 2
    assert "run `eligibility imaging verify` first" in capsys.readouterr().err
    states = dict(zip(INCLUDED, ("present", "absent", "partial", "mismatch"), strict=True))
    lines = [
        {
            "patient": f"Patient/{name}",
            "resource": f"ImagingStudy/{name}-images",
            "study": link_of(run, name)["study"],
            "state": state,
        }
        for name, state in states.items()
    ]
    (run / "archive.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["imaging", "manifest", str(run), "--out", str(tmp_path / "held"), "--held"]) == 0
    assert "2 studies are left out" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "held" / "images.csv").open(newline="")))
    assert {(row["patient"], row["archive"]) for row in rows} == {
        ("Patient/example-01", "present"),
        ("Patient/example-10", "mismatch"),
    }


def screened(case: dict[str, Any], folder: Path) -> Path:
    expression = {"language": "text/fhirpath", "expression": "ImagingStudy.exists()"}
    artifact = {
        "resourceType": "EvidenceVariable",
        "id": "any",
        "characteristic": [{"definitionExpression": expression}],
    }
    folder.mkdir()
    (folder / "any.json").write_text(json.dumps(artifact))
    found = fhir_eligibility.load_criteria(folder / "any.json")
    errors: tuple[Diagnostic, ...] = found.errors
    assert errors == ()
    verdicts = fhir_eligibility.screen(
        found, list(fhir_eligibility.compartments_of(case["input"]["resources"])), now="2026-01-01"
    )
    (folder / "verdicts.ndjson").write_text("".join(map(line_of, verdicts)))
    return folder


def test_what_will_never_be_there_is_in_no_list(tmp_path: Path) -> None:
    case = reported("DCM-STATUS-CANCELLED")
    result = manifest(screened(case, tmp_path / "run"), tmp_path / "out")
    listed = (tmp_path / "out" / "studies.txt").read_text().split()
    noted = [text.partition(" ")[0] for text in case["expected"]["linked_with_note"]]
    assert sorted(listed) == sorted([*case["expected"]["linked"], *noted])
    assert not set(listed) & set(case["expected"]["not_linked"])
    assert result.unidentified == 1  # the cancelled one; the one entered in error is not read at all


def test_uids_that_repeat_are_listed_once_a_level(tmp_path: Path) -> None:
    case = reported("DCM-UIDS-REPEATED")
    manifest(screened(case, tmp_path / "run"), tmp_path / "out")
    assert (tmp_path / "out" / "studies.txt").read_text().split() == [case["expected"]["study_uid"]]
    assert (tmp_path / "out" / "series.txt").read_text().split() == case["expected"]["series"]
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").open(newline="")))
    assert [row["instance"] for row in rows] == case["expected"]["instances"]
