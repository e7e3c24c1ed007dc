"""Two versions of one artifact in a run are two artifacts in every output and in Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.ui.commands.cli import main
from tests.outputs import groups

URL = "http://example.org/EvidenceVariable/trial"
DIABETES = {"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]}
PATIENTS = [
    {"resourceType": "Patient", "id": "ill", "gender": "male"},
    {"resourceType": "Patient", "id": "well", "gender": "male"},
    {
        "resourceType": "Condition",
        "id": "c",
        "subject": {"reference": "Patient/ill"},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "code": DIABETES,
    },
]


def version_of_trial(number: str, **characteristic: Any) -> dict[str, Any]:
    found = {"linkId": "diabetes", "description": f"as of {number}", "definitionCodeableConcept": DIABETES}
    head = {"resourceType": "EvidenceVariable", "id": f"v{number}", "url": URL, "version": number, "title": "Trial"}
    return {**head, "status": "active", "characteristic": [{**found, **characteristic}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crit").mkdir()
    (tmp_path / "crit" / "1.json").write_text(json.dumps(version_of_trial("1")))
    (tmp_path / "crit" / "2.json").write_text(json.dumps(version_of_trial("2", exclude=True)))
    (tmp_path / "data.ndjson").write_text("".join(json.dumps(one) + "\n" for one in PATIENTS))
    return tmp_path


def test_outputs_have_a_version(folder: Path) -> None:
    out = folder / "out"
    assert main(["screen", str(folder / "crit"), "--data", str(folder / "data.ndjson"), "--out", str(out)]) == 0
    rows = list(csv.DictReader((out / "summary.csv").open(newline="")))
    assert [(row["patient"], row["version"], row["verdict"]) for row in rows] == [
        ("Patient/ill", "1", "included"),
        ("Patient/ill", "2", "excluded"),
        ("Patient/well", "1", "excluded"),
        ("Patient/well", "2", "included"),
    ]
    columns = ("trial|1: as of 1", "trial|2: as of 2")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("met", ""),
        ("", "met"),
        ("not met", ""),
        ("", "not met"),
    ]
    record = json.loads((out / "run.json").read_text())
    counts = [(x["artifact"], x["version"], x["included"], x["excluded"], x["removed"]) for x in record["artifacts"]]
    assert counts == [(URL, "1", 1, 1, {"diabetes": 1}), (URL, "2", 1, 1, {"diabetes": 1})]
    found = groups(out)
    assert [[member["entity"]["reference"] for member in group["member"]] for group in found] == [
        ["Patient/ill"],
        ["Patient/well"],
    ]
    assert [group["name"] for group in found] == ["Included: Trial (1)", "Included: Trial (2)"]
    assert [group["extension"][1]["valueUri"] for group in found] == [f"{URL}|1", f"{URL}|2"]


def test_the_table_tells_versions_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["screen", str(folder / "crit"), "--data", str(folder / "data.ndjson"), "--out", str(folder / "out")])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Trial")] == ["Trial (1)", "Trial (2)"]
    assert [line.split()[-1] for line in lines if "removed by" in line] == ["1", "1"]


def test_in_python_as_well(folder: Path) -> None:
    criteria = fhir_eligibility.load_criteria(folder / "crit")
    assert [rules.key for rules in criteria.rules] == [f"{URL}|1", f"{URL}|2"]
    found = [
        (v.patient, v.artifact, v.artifact_version, v.verdict)
        for v in fhir_eligibility.screen(criteria, folder / "data.ndjson")
    ]
    assert found[:2] == [("Patient/ill", URL, "1", "included"), ("Patient/ill", URL, "2", "excluded")]
