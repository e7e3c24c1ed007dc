"""Measures and CQL over incomplete data: what records that are missing could change has no answer, and says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.ui.commands.cli import main

LIBRARY = """library Seen version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
context Patient
define Someone: true
define Ill: exists [Condition]
define Well: not exists [Condition]
define Seen: exists [Observation]
define Episodes: [Condition]
define "Episodes without": [Condition] C without [Observation] O such that O.id = C.id
"""
CODES = {"initial-population": "Someone", "denominator": "Ill", "numerator": "Well", "denominator-exclusion": "Seen"}


def write(folder: Path, patients: int = 2, damaged: bool = True) -> Path:
    data = folder / "data"
    data.mkdir()
    lines = [json.dumps({"resourceType": "Patient", "id": f"p{n}"}) for n in range(patients)]
    (data / "Patient.ndjson").write_text("\n".join(lines) + "\n")
    condition = {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p0"}}
    (data / "Condition.ndjson").write_text(json.dumps(condition) + "\n" + ('{"resourceType": "Cond' if damaged else ""))
    (folder / "Seen.cql").write_text(LIBRARY)
    return data


def measure(folder: Path, basis: str = "boolean", **codes: str) -> Path:
    populations = [
        {
            "id": code,
            "code": {"coding": [{"code": code}]},
            "criteria": {"language": "text/cql-identifier", "expression": define},
        }
        for code, define in codes.items()
    ]
    found: dict[str, Any] = {
        "resourceType": "Measure",
        "id": "m",
        "url": "http://m.example/Measure/m",
        "status": "active",
        "library": ["http://m.example/Library/Seen"],
        "scoring": {"coding": [{"code": "proportion" if basis == "boolean" else "cohort"}]},
        "group": [{"id": "g", "population": populations}],
    }
    if basis != "boolean":
        url = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-populationBasis"
        found["extension"] = [{"url": url, "valueCode": basis}]
    (folder / "measure.json").write_text(json.dumps(found))
    return folder / "measure.json"


def evaluated(folder: Path, asked: Path, data: Path, *options: str, status: int = 1) -> dict[str, Any]:
    arguments = ["measure", str(asked), "--data", str(data), "--libraries", str(folder), "--out", str(folder / "out")]
    assert main([*arguments, "--quiet", *options]) == status
    lines = (folder / "out" / "results.ndjson").read_text().splitlines()
    found = {}
    for line in lines:
        result = json.loads(line)
        (group,) = result["groups"]
        found[result["patient"]] = {p["id"]: (p["count"], p.get("unknown")) for p in group["populations"]}
    return found


WHY = "data-incomplete: Condition is incomplete: a record whose patient cannot be told (Condition.ndjson, byte 81)"


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_populations_that_rest_on_absence_have_no_answer(
    tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("fhir_eligibility.runners.screening.run.SMALL", 0)
    data = write(tmp_path)
    asked = measure(tmp_path, **CODES)
    found = evaluated(tmp_path, asked, data, "--jobs", "2")
    assert found == {
        "Patient/p0": {
            "initial-population": (1, None),
            "denominator": (1, None),
            "numerator": (0, None),
            "denominator-exclusion": (0, None),
        },
        "Patient/p1": {
            "initial-population": (1, None),
            "denominator": (0, WHY),
            "numerator": (0, WHY),
            "denominator-exclusion": (0, None),
        },
    }


def test_damaged_records_may_be_tolerated(tmp_path: Path) -> None:
    data = write(tmp_path)
    found = evaluated(tmp_path, measure(tmp_path, **CODES), data, "--tolerate", "1")
    assert [found["Patient/p1"][code] for code in ("denominator", "numerator")] == [(0, None), (0, None)]


def test_episodes_that_are_there_stay(tmp_path: Path) -> None:
    data = write(tmp_path)
    found = evaluated(tmp_path, measure(tmp_path, "Condition", **{"initial-population": "Episodes"}), data)
    assert found["Patient/p0"]["initial-population"] == (1, WHY)
    (data / "Condition.ndjson").write_bytes((data / "Condition.ndjson").read_bytes().partition(b"\n")[0] + b"\n")
    (data / "Observation.ndjson.part").write_bytes(b"{")
    asked = measure(tmp_path, "Condition", **{"initial-population": "Episodes without"})
    count, why = evaluated(tmp_path, asked, data)["Patient/p0"]["initial-population"]
    assert count == 0 and why.startswith("data-incomplete: Observation is incomplete: Observation.ndjson.part")


def test_whole_data_has_answers(tmp_path: Path) -> None:
    data = write(tmp_path, damaged=False)
    found = evaluated(tmp_path, measure(tmp_path, **CODES), data, status=0)
    assert {why for patient in found.values() for _, why in patient.values()} == {None}


def test_cql_says_what_may_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path)
    arguments = ["cql", "--library", str(tmp_path / "Seen.cql"), "--data", str(data), "--patient", "p1"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "problem: " in printed.err and "Condition.ndjson" in printed.err
    notes = [line for line in printed.err.splitlines() if line.startswith("note: ")]
    why = WHY.removeprefix("data-incomplete: ")
    assert notes == [
        f"note: Ill: CQL's own answer is false, but a screening leaves it undetermined: {why}",
        f"note: Well: CQL's own answer is true, but a screening leaves it undetermined: {why}",
    ]
    assert main([*arguments, "exists [Observation]"]) == 1
